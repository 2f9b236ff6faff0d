/** What a page shows above the rest where one of its streams is refused, so that nothing of it will come. */
import { refusals, retryAll } from "../live/feeds.ts";
import { ErrorPanel } from "./panels.tsx";

export function Refused() {
  return (
    <>
      {refusals.value.map((failure) => (
        <ErrorPanel key={failure.text} title="This cannot be shown live" failure={failure} retry={retryAll} />
      ))}
    </>
  );
}
