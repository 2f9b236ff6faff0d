import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

const tests = readdirSync("tests").filter((name) => name.endsWith(".test.ts") || name.endsWith(".test.tsx"));

/** Bundles the tests for node's own runner, since Node 20 does not read TypeScript. */
export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    ssr: true,
    outDir: "build/tests",
    emptyOutDir: true,
    minify: false,
    rolldownOptions: { input: Object.fromEntries(tests.map((name) => [name.replace(/\.tsx?$/, ""), `tests/${name}`])) },
  },
  ssr: { noExternal: true },
});
