import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// One script and one style sheet with fixed names: Django's static files add the fingerprint.
export default defineConfig({
  base: "./",
  publicDir: false,
  build: {
    outDir: here("../netviz/static/dist"),
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    rolldownOptions: {
      input: here("./src/main.ts"),
      output: {
        codeSplitting: false,
        entryFileNames: "app.js",
        assetFileNames: (asset) => (asset.names[0]?.endsWith(".css") ? "app.css" : "[name][extname]"),
      },
    },
  },
  // Time is no proof of anything: a machine may be busy.
  test: { include: ["tests/**/*.test.ts"], environment: "node", testTimeout: 300_000 },
});
