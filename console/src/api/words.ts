/** The contract's enums in the words that operators use: lower case, as in commands, logs and metrics. */

import {
  Channel,
  DeliveryGuarantee,
  MessageState,
  NoteAction,
  Outcome,
  Priority,
  ReceiptState,
} from "../gen/postwire/v1/message_pb.ts";
import { Availability, BreakerState } from "../gen/postwire/v1/provider_service_pb.ts";
import { SuppressionReason } from "../gen/postwire/v1/suppression_service_pb.ts";

type Enum = Record<number, string>;

/** The words of an enum by number, and back. protoc-gen-es leaves the enum's own prefix out of the names already. */
function words(of: Enum) {
  return {
    of: (value: number): string => (value === 0 ? "unknown" : (of[value]?.toLowerCase() ?? `unknown (${value})`)),
    parse: (word: string): number | undefined => {
      const found = Object.entries(of).find(([, name]) => typeof name === "string" && name.toLowerCase() === word);
      return found && Number(found[0]) !== 0 ? Number(found[0]) : undefined;
    },
    all: Object.entries(of)
      .filter(([number, name]) => Number(number) > 0 && typeof name === "string")
      .map(([number, name]) => ({ value: Number(number), word: name.toLowerCase() })),
  };
}

export const channels = words(Channel as unknown as Enum);
export const states = words(MessageState as unknown as Enum);
export const outcomes = words(Outcome as unknown as Enum);
export const breakerStates = words(BreakerState as unknown as Enum);
export const availabilities = words(Availability as unknown as Enum);
export const receiptStates = words(ReceiptState as unknown as Enum);
export const priorities = words(Priority as unknown as Enum);
export const guarantees = words(DeliveryGuarantee as unknown as Enum);
export const noteActions = words(NoteAction as unknown as Enum);
export const suppressionReasons = words(SuppressionReason as unknown as Enum);
