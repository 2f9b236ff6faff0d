/** What a refused call says of itself, in a form that can be shown. */
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";

export interface Violation {
  field: string;
  description: string;
}

export interface Failure {
  /** The status, as gRPC writes it: `INVALID_ARGUMENT`. */
  code: string;
  /** The reason that the contract publishes: `INVALID_MESSAGE`; "" where the error is not one of the server's own. */
  reason: string;
  /** For people. */
  text: string;
  violations: Violation[];
  /** After how many milliseconds to try again, where the server says. */
  retryAfter: number | undefined;
}

const DOMAIN = "postwire";

/** Make a failure of whatever was thrown. */
export function failureOf(error: unknown): Failure {
  const refused = ConnectError.from(error, Code.Unavailable);
  const info = refused.findDetails(ErrorInfoSchema).find((detail) => detail.domain === DOMAIN);
  const violations = refused.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const delay = refused.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    code: codeName(refused.code),
    reason: info?.reason ?? "",
    text: refused.rawMessage || "The server did not say why.",
    violations: violations.map(({ field, description }) => ({ field, description })),
    retryAfter: delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6,
  };
}

/** A code's name as gRPC writes it: `DeadlineExceeded` is `DEADLINE_EXCEEDED`. */
export function codeName(code: Code): string {
  return (Code[code] ?? "Unknown").replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

/** Whether the server asks who calls, and this call did not say it, or not rightly. */
export function isUnauthenticated(error: unknown): boolean {
  return error instanceof ConnectError && error.code === Code.Unauthenticated;
}

const FOR_GOOD = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.PermissionDenied,
  Code.FailedPrecondition,
  Code.OutOfRange,
  Code.Unimplemented,
  Code.Unauthenticated,
]);

/** Whether the same call would be refused again, however often it is made. */
export function isForGood(error: unknown): boolean {
  return error instanceof ConnectError && FOR_GOOD.has(error.code);
}
