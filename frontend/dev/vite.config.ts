import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { fakeServer } from "./server.js";

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  appType: "custom",
  server: { host: "127.0.0.1", port: 5183, strictPort: true, hmr: false },
  optimizeDeps: { include: ["d3-zoom", "d3-selection", "d3-interpolate"] },
  plugins: [fakeServer()],
});
