import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError, createClient, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";
import { authenticate } from "../src/api/transport.ts";
import { ProviderService } from "../src/gen/postwire/v1/provider_service_pb.ts";

function signedIn(implementation: Partial<ServiceImpl<typeof ProviderService>>, tenant?: string) {
  const refused: (string | undefined)[] = [];
  const credentials = { key: () => "pw_1", tenant: () => tenant, refused: (key?: string) => void refused.push(key) };
  const transport = createRouterTransport(({ service }) => void service(ProviderService, implementation), {
    transport: { interceptors: [authenticate(credentials)] },
  });
  return { client: createClient(ProviderService, transport), refused };
}

const NOT_TAKEN = new ConnectError("no", Code.Unauthenticated);

test("each call has the key, and the tenant that was chosen", async () => {
  const seen: (string | null)[] = [];
  const { client } = signedIn(
    {
      listProviders(_, context) {
        seen.push(context.requestHeader.get("authorization"), context.requestHeader.get("postwire-tenant"));
        return {};
      },
    },
    "acme",
  );
  await client.listProviders({});
  assert.deepEqual(seen, ["Bearer pw_1", "acme"]);
});

test("a call whose key is not taken says so", async () => {
  const { client, refused } = signedIn({
    listProviders() {
      throw NOT_TAKEN;
    },
  });
  await assert.rejects(client.listProviders({}));
  assert.deepEqual(refused, ["pw_1"]);
});

test("a stream whose key is taken out while it goes on says so", async () => {
  const { client, refused } = signedIn({
    async *watchProviders() {
      yield {};
      throw NOT_TAKEN;
    },
  });
  const messages = client.watchProviders({})[Symbol.asyncIterator]();
  await messages.next();
  assert.deepEqual(refused, []);
  await assert.rejects(messages.next());
  assert.deepEqual(refused, ["pw_1"]);
});

test("what is refused for another reason says nothing of the key", async () => {
  const { client, refused } = signedIn({
    listProviders() {
      throw new ConnectError("no", Code.PermissionDenied);
    },
  });
  await assert.rejects(client.listProviders({}));
  assert.deepEqual(refused, []);
});
