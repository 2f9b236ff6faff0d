/** How much was sent in the last 15 min, as it changes. */
import { signal } from "@preact/signals";
import { admin } from "../api/clients.ts";
import { millis } from "../api/times.ts";
import type { Backlog, Node } from "../gen/postwire/v1/admin_service_pb.ts";
import { Shared, watch } from "./feeds.ts";
import { Intervals } from "./intervals.ts";

export const intervals = new Intervals();
/** Rises whenever `intervals` has changed. */
export const changes = signal(0);
export const backlog = signal<Backlog | undefined>(undefined);

/** The nodes that serve the store; one of them counts what is shown here. None while they are not known. */
export const nodes = signal<readonly Node[]>([]);

async function readNodes(): Promise<void> {
  try {
    nodes.value = (await admin.listNodes({})).nodes;
  } catch {
    nodes.value = []; // what they are for is said without them
  }
}

let offset = 0;

/** The time on the clock that intervals are counted by. It was set once when the server started, and is not stepped. */
export function statsNow(): number {
  return Date.now() + offset;
}

const shared = new Shared(() =>
  watch({
    open: (call) => admin.watchStats({}, call),
    opened() {
      intervals.clear();
      void readNodes();
    },
    received(response) {
      if (response.time) offset = millis(response.time) - Date.now();
      intervals.add(response.intervals, statsNow());
      if (response.backlog) backlog.value = response.backlog;
      changes.value += 1;
    },
  }),
);

/** Have them be live while the component is shown. */
export function useStats(): void {
  shared.use();
}
