// Sends one SMS over TLS, with a token that says who calls.
import { readFileSync } from "node:fs";

import { credentials, Metadata, status } from "@grpc/grpc-js";

import { DispatchRequest, DispatchServiceClient } from "./gen/postwire/v1/dispatch_service.js";
import { MessageState } from "./gen/postwire/v1/message.js";

const target = process.env.POSTWIRE_TARGET ?? "127.0.0.1:50051";
const tls = credentials.createSsl(readFileSync(process.env.POSTWIRE_CA_FILE!));
// Read at every call, so that a new token takes effect at once.
const bearer = credentials.createFromMetadataGenerator((_, callback) => {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${readFileSync(process.env.POSTWIRE_TOKEN_FILE!, "utf8").trim()}`);
  callback(null, metadata);
});
const client = new DispatchServiceClient(target, credentials.combineChannelCredentials(tls, bearer));
const request = DispatchRequest.create({
  message: { sms: { to: "+15005550006", body: "Your code is 493 027." } },
});

client.dispatch(request, new Metadata(), { deadline: Date.now() + 5_000 }, (error, response) => {
  if (error) {
    console.error(status[error.code], error.details);
    process.exit(1);
  }
  const { providerName, state } = response.message!;
  console.log(providerName, MessageState[state]);
});
