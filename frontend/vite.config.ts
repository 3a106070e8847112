import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Beside each file its compressed twin, which the server sends to who takes it: a third of the bytes. */
const compressed: Plugin = {
  name: "compressed",
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      for (const file of Object.values(bundle)) {
        const source = gzipSync(file.type === "chunk" ? file.code : file.source, { level: 9 });
        this.emitFile({ type: "asset", fileName: `${file.fileName}.gz`, source });
      }
    },
  },
};

// One script and one style sheet with fixed names: Django's static files add the fingerprint.
export default defineConfig({
  base: "./",
  publicDir: false,
  plugins: [compressed],
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
