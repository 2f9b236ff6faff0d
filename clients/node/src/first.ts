// The smallest program: sends one SMS, and says what became of it.
import { credentials, Metadata, status } from "@grpc/grpc-js";

import { BadRequest, ErrorInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";
import { DispatchRequest, DispatchServiceClient } from "./gen/postwire/v1/dispatch_service.js";
import { MessageState } from "./gen/postwire/v1/message.js";

const target = process.env.POSTWIRE_TARGET ?? "127.0.0.1:50051";
const client = new DispatchServiceClient(target, credentials.createInsecure());
const request = DispatchRequest.create({
  message: { sms: { to: "+15005550006", body: "Your code is 493 027." } },
});

client.dispatch(request, new Metadata(), { deadline: Date.now() + 5_000 }, (error, response) => {
  if (!error) {
    const { providerName, state } = response.message!;
    console.log(providerName, MessageState[state]);
    return;
  }
  console.error(status[error.code], error.details);
  for (const bytes of error.metadata.get("grpc-status-details-bin")) {
    for (const { typeUrl, value } of Status.decode(bytes as Buffer).details) {
      if (typeUrl === "type.googleapis.com/google.rpc.ErrorInfo") console.error(ErrorInfo.decode(value).reason);
      if (typeUrl === "type.googleapis.com/google.rpc.BadRequest")
        for (const { field, description } of BadRequest.decode(value).fieldViolations)
          console.error(`${field}: ${description}`);
    }
  }
  process.exit(1);
});
