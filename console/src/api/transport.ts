/** How the contract is called: Connect over this origin, with the key of whoever has signed in. */
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { isUnauthenticated } from "./errors.ts";

export interface Credentials {
  /** The API key or token, where there is one. */
  key(): string | undefined;
  /** For which tenant an administrator acts, where he has chosen one. */
  tenant(): string | undefined;
  /** The server did not take the key that a call went with. */
  refused(key: string | undefined, error: unknown): void;
}

/** How long a call may take that is not a stream. */
const CALL_TIMEOUT_MS = 20_000;

/** Sends the key along with each call, and says when one was refused: at once, or while a stream goes on. */
export function authenticate(credentials: Credentials): Interceptor {
  return (next) => async (request) => {
    const key = credentials.key();
    const tenant = credentials.tenant();
    if (key) request.header.set("authorization", `Bearer ${key}`);
    if (tenant) request.header.set("postwire-tenant", tenant);
    const reported = (error: unknown) => {
      if (isUnauthenticated(error)) credentials.refused(key, error);
      return error;
    };
    try {
      const response = await next(request);
      return response.stream ? { ...response, message: watched(response.message, reported) } : response;
    } catch (error) {
      throw reported(error);
    }
  };
}

async function* watched<T>(messages: AsyncIterable<T>, reported: (error: unknown) => unknown): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (error) {
    throw reported(error);
  }
}

export function createTransport(baseUrl: string, json: boolean, credentials: Credentials): Transport {
  const options = { baseUrl, useBinaryFormat: !json, interceptors: [authenticate(credentials)] };
  const streams = createConnectTransport(options);
  const calls = createConnectTransport({ ...options, defaultTimeoutMs: CALL_TIMEOUT_MS });
  return { unary: calls.unary.bind(calls), stream: streams.stream.bind(streams) };
}
