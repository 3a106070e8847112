import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// The scenes that are compared pixel by pixel: one script and one style sheet, with the font in it.
export default defineConfig({
  publicDir: false,
  logLevel: "warn",
  build: {
    outDir: here("../../var/scenes"),
    emptyOutDir: true,
    target: "es2022",
    minify: false,
    cssMinify: false,
    assetsInlineLimit: Number.MAX_SAFE_INTEGER,
    cssCodeSplit: false,
    modulePreload: false,
    rolldownOptions: {
      input: here("./scenes.ts"),
      output: { format: "iife", entryFileNames: "scenes.js", assetFileNames: "scenes[extname]" },
    },
  },
});
