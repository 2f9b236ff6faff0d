import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style/tokens.css";
import "./style/base.css";
import "./style/shell.css";
import "./style/components.css";
import { begin } from "./app/entry.ts";
import { session } from "./app/session.ts";
import { Shell } from "./app/shell.tsx";
import { SignIn, Starting } from "./app/sign_in.tsx";
import "./app/theme.ts";

function App() {
  const state = session.value;
  switch (state.kind) {
    case "starting":
      return <Starting failure={undefined} />;
    case "unreachable":
      return <Starting failure={state.failure} />;
    case "signed-out":
      return <SignIn problem={state.problem} />;
    case "signed-in":
      return <Shell />;
  }
}

const root = document.getElementById("root");
if (root) {
  render(<App />, root);
  void begin();
}
