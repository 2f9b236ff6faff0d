/** What stands below a list that comes page by page: that it loads, that it failed, or a button for more. */
import type { Paged } from "../live/paged.ts";
import { ErrorPanel, Loading } from "./panels.tsx";

export function PagedEnd(props: { state: Paged<unknown>; what: string; more: () => void; again: () => void }) {
  const { state, what, more, again } = props;
  if (state.failure) return <ErrorPanel failure={state.failure} retry={state.rows.length ? more : again} />;
  if (state.loading) return <Loading what={what} />;
  if (!state.more) return null;
  return (
    <p class="paged-more">
      <button type="button" class="button" onClick={more}>
        Show more
      </button>
    </p>
  );
}
