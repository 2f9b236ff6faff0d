// What a refused call says of itself: see ErrorReason in protos/postwire/v1/error_reason.proto.
import { status, type ServiceError } from "@grpc/grpc-js";

import { BadRequest, ErrorInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";

export interface Refusal {
  /** The name of the gRPC status code, such as `INVALID_ARGUMENT`. */
  code: string;
  /** Why, such as `INVALID_MESSAGE`; empty where the error is not Postwire's own. */
  reason: string;
  /** The paths of all bad fields, such as `message.sms.to`. */
  violations: string[];
}

/** Reads a refusal out of the details of an error, which gRPC carries as an encoded `google.rpc.Status`. */
export function refusalOf(error: ServiceError): Refusal {
  const refusal: Refusal = { code: status[error.code], reason: "", violations: [] };
  for (const bytes of error.metadata.get("grpc-status-details-bin")) {
    for (const { typeUrl, value } of Status.decode(bytes as Buffer).details) {
      if (typeUrl === "type.googleapis.com/google.rpc.ErrorInfo") {
        const { domain, reason } = ErrorInfo.decode(value);
        if (domain === "postwire") refusal.reason = reason;
      } else if (typeUrl === "type.googleapis.com/google.rpc.BadRequest") {
        refusal.violations = BadRequest.decode(value).fieldViolations.map(({ field }) => field);
      }
    }
  }
  return refusal;
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error && "metadata" in error;
}

/** The refusal that `call` ends with. Anything else is thrown: that it went well, or that it failed with another code. */
export async function refused(call: Promise<unknown>, code: status): Promise<Refusal> {
  try {
    await call;
  } catch (error) {
    if (isServiceError(error) && error.code === code) return refusalOf(error);
    throw error;
  }
  throw new Error(`expected ${status[code]}, and the call was OK`);
}
