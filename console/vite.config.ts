import { defineConfig } from "vite";

const server = process.env.POSTWIRE_HTTP ?? "http://127.0.0.1:8080";

/** What the server serves itself, and `npm run dev` therefore asks it for. */
const proxied = ["^/postwire\\.v1\\.", "^/console/settings\\.json$", "^/preview/"];

export default defineConfig({
  base: "/console/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "build/console",
    emptyOutDir: true,
    target: "es2022",
    // One script and one style: a page that is open while the server is replaced never asks for a part of the old ones.
    cssCodeSplit: false,
    // The policy of the page lets nothing through that stands in it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // What is bundled is under licences that ask to be told along.
    license: { fileName: "licenses.md" },
    rolldownOptions: { output: { codeSplitting: false } },
  },
  server: {
    proxy: Object.fromEntries(proxied.map((path) => [path, { target: server }])),
  },
});
