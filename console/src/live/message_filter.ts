/** Which messages a list shows: what the contract's filter can say, as it stands in the address. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { millis } from "../api/times.ts";
import { channels, states } from "../api/words.ts";
import { type Message, MessageState } from "../gen/postwire/v1/message_pb.ts";

export interface Filter {
  channels: readonly number[];
  states: readonly number[];
  providers: readonly string[];
  labels: Readonly<Record<string, string>>;
  /** Milliseconds since 1970: the first included, the second not. */
  from: number | undefined;
  to: number | undefined;
  requestIds: readonly string[];
}

export const EVERYTHING: Filter = {
  channels: [],
  states: [],
  providers: [],
  labels: {},
  from: undefined,
  to: undefined,
  requestIds: [],
};

/** What the parts of a filter are called in the address. */
export type FilterQuery = Record<
  "channel" | "state" | "provider" | "label" | "from" | "to" | "request_id",
  string | readonly string[] | undefined
>;

/** Read a filter out of an address. What cannot be meant is left out, and told. */
export function parseFilter(query: URLSearchParams): { filter: Filter; problems: string[] } {
  const problems: string[] = [];
  const numbers = (key: string, words: { parse(word: string): number | undefined }) =>
    unique(query.getAll(key)).flatMap((word) => {
      const value = words.parse(word);
      if (value === undefined) problems.push(`There is no ${key} “${word}”.`);
      return value === undefined ? [] : [value];
    });
  const time = (key: string) => {
    const text = query.get(key);
    if (!text) return undefined;
    const value = Date.parse(text);
    if (Number.isNaN(value)) problems.push(`“${text}” is no time: write 2026-11-30T14:00:00Z.`);
    return Number.isNaN(value) ? undefined : value;
  };
  const labels: Record<string, string> = {};
  for (const text of query.getAll("label")) {
    const label = parseLabel(text);
    if (label) labels[label[0]] = label[1];
    else problems.push(`“${text}” is no label: write key=value.`);
  }
  const filter = {
    channels: numbers("channel", channels),
    states: numbers("state", states),
    providers: unique(query.getAll("provider")),
    labels,
    from: time("from"),
    to: time("to"),
    requestIds: unique(query.getAll("request_id")),
  };
  return { filter, problems };
}

/** `team=billing` as a key and a value, of which the second may have any text; undefined where there is no key. */
export function parseLabel(text: string): [string, string] | undefined {
  const at = text.indexOf("=");
  return at > 0 ? [text.slice(0, at).trim(), text.slice(at + 1).trim()] : undefined;
}

/** A filter as it stands in the address. */
export function filterQuery(filter: Filter): FilterQuery {
  return {
    channel: filter.channels.map(channels.of),
    state: filter.states.map(states.of),
    provider: filter.providers,
    label: Object.entries(filter.labels).map(([key, value]) => `${key}=${value}`),
    from: filter.from === undefined ? undefined : new Date(filter.from).toISOString(),
    to: filter.to === undefined ? undefined : new Date(filter.to).toISOString(),
    request_id: filter.requestIds,
  };
}

/** Where the messages are that a filter admits. */
export function messagesPath(changes: Partial<Filter>): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(filterQuery({ ...EVERYTHING, ...changes })))
    for (const one of typeof value === "string" ? [value] : (value ?? [])) query.append(key, one);
  return `messages?${query}`;
}

/** How many parts of a filter narrow the choice. */
export function countParts(filter: Filter): number {
  const lists = [filter.channels, filter.states, filter.providers, filter.requestIds];
  const times = [filter.from, filter.to].filter((time) => time !== undefined);
  return lists.filter((list) => list.length > 0).length + Object.keys(filter.labels).length + times.length;
}

/** The contract's filter. */
export function toWire(filter: Filter) {
  return {
    channels: [...filter.channels],
    states: [...filter.states],
    providerNames: [...filter.providers],
    labels: { ...filter.labels },
    requestIds: [...filter.requestIds],
    ...(filter.from !== undefined && { createTimeFrom: timestampFromMs(filter.from) }),
    ...(filter.to !== undefined && { createTimeTo: timestampFromMs(filter.to) }),
  };
}

/** States that no message leaves. */
const FINAL: ReadonlySet<number> = new Set([
  MessageState.DELIVERED,
  MessageState.FAILED,
  MessageState.EXPIRED,
  MessageState.CANCELLED,
]);

/** What to watch for a list.
 *
 * The server tells of no message that a filter admits no longer. So what a message can come out of is left to this side,
 * unless it is never left.
 */
export function watchedFilter(filter: Filter): Filter {
  if (filter.states.length > 0 && filter.states.every((state) => FINAL.has(state))) return filter;
  return { ...filter, states: [], providers: [] };
}

/** Whether a filter admits a message. */
export function admits(filter: Filter, message: Message): boolean {
  const among = <T>(list: readonly T[], value: T) => list.length === 0 || list.includes(value);
  const created = message.createTime ? millis(message.createTime) : 0;
  return (
    among(filter.channels, message.channel) &&
    among(filter.states, message.state) &&
    among(filter.providers, message.providerName) &&
    among(filter.requestIds, message.requestId) &&
    Object.entries(filter.labels).every(([key, value]) => message.labels[key] === value) &&
    (filter.from === undefined || created >= filter.from) &&
    (filter.to === undefined || created < filter.to)
  );
}

function unique(words: readonly string[]): string[] {
  return [...new Set(words.map((word) => word.trim()).filter(Boolean))];
}
