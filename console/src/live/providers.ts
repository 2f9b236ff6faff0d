/** Every provider, as they change. */
import { signal } from "@preact/signals";
import { providers as client } from "../api/clients.ts";
import { Availability, BreakerState, type Provider } from "../gen/postwire/v1/provider_service_pb.ts";
import { Shared, watch } from "./feeds.ts";

/** In the order of their declaration; undefined until they have arrived. */
export const providers = signal<readonly Provider[] | undefined>(undefined);

const shared = new Shared(() => {
  let anew = true;
  return watch({
    open: (call) => client.watchProviders({}, call),
    opened() {
      anew = true;
    },
    received({ providers: changed }) {
      if (changed.length === 0) return;
      // What comes first is all of them: one that is gone from the configuration is not in it.
      providers.value = anew ? changed : merge(providers.peek() ?? [], changed);
      anew = false;
    },
  });
});

/** Put what has changed in its place. */
export function merge(known: readonly Provider[], changed: readonly Provider[]): readonly Provider[] {
  const latest = new Map(changed.map((provider) => [provider.name, provider]));
  const merged = known.map((provider) => latest.get(provider.name) ?? provider);
  const names = new Set(known.map((provider) => provider.name));
  return [...merged, ...changed.filter((provider) => !names.has(provider.name))];
}

/** Have `providers` be live while the component is shown. */
export function useProviders(): void {
  shared.use();
}

/** Show what a call has answered, without waiting for the stream. */
export function showProvider(provider: Provider | undefined): void {
  if (provider && providers.peek()) providers.value = merge(providers.peek() ?? [], [provider]);
}

/** Whether nothing, or little, is sent by it now. */
export function isOut(provider: Provider): boolean {
  return provider.breaker?.state !== BreakerState.CLOSED || provider.availability !== Availability.AVAILABLE;
}
