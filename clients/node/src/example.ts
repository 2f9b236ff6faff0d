// Does what a caller of Postwire does, step by step, and prints a line for each; with --json, for programs.
import { Postwire } from "./client.js";
import { isServiceError, refusalOf } from "./errors.js";
import { steps, type Step } from "./steps.js";

const target = process.env.POSTWIRE_TARGET ?? "127.0.0.1:50051";
const print = process.argv.includes("--json") ? JSON.stringify : line;

const interrupt = new AbortController();
process.once("SIGINT", () => interrupt.abort());

const postwire = new Postwire(target, interrupt.signal);
try {
  for await (const step of steps(postwire)) console.log(print(step));
  postwire.close();
} catch (error) {
  console.error(interrupt.signal.aborted ? "interrupted" : `${target}: ${explain(error)}`);
  process.exit(interrupt.signal.aborted ? 130 : 1); // at once: grpc-js would go on trying to connect
}

function line(step: Step): string {
  return [step.step.padEnd(10), ...columns(step)].join(" ");
}

function columns(step: Step): string[] {
  switch (step.step) {
    case "dispatch":
      return [step.channel.padEnd(6), step.state.padEnd(9), step.provider_name.padEnd(9), step.message_id];
    case "forced":
      return [step.channel.padEnd(6), step.state.padEnd(9), `${step.outcome} by ${step.provider_name}`];
    case "invalid":
      return [step.code, "", step.reason, "", step.violations.join(", ")];
    case "conflict":
    case "not_found":
      return [step.code, "", step.reason];
    case "retry":
      return [step.message_id, "", `after ${step.tries} tries`];
    case "stream": {
      const refused = step.rejections.map((one) => [one.sequence, one.code, one.reason, ...one.violations].join(" "));
      return [`${Object.keys(step.messages).length} SENT, ${refused.length} refused: ${refused.join("; ")}`];
    }
    case "watch":
      return [step.states.join(" → ")];
  }
}

function explain(error: unknown): string {
  if (!isServiceError(error)) return String(error);
  const { code, reason } = refusalOf(error);
  return [code, reason, error.details].filter(Boolean).join(" ");
}
