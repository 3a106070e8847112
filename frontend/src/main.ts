import "./style/tokens.css";
import "./style/page.css";
import "./style/panels.css";
import "./style/problems.css";
import "./style/map.css";
import "./style/stage.css";
import { App } from "./app.js";
import type { Point } from "./layout/scene.js";
import { applyTheme } from "./ui/themes.js";

declare global {
  interface Window {
    /** For browser tests: the revision shown, and where a pod's tile is on the page. */
    netviz: { readonly revision: number; podPosition(key: string): Point | null };
  }
}

/** An icon of our own, so that the browser doesn't ask the server for one. */
function addIcon(): void {
  if (document.querySelector('link[rel~="icon"]')) return;
  const link = document.createElement("link");
  link.rel = "icon";
  link.href =
    "data:image/svg+xml," +
    encodeURIComponent(
      '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="none" stroke="#1a5fd0" stroke-width="2"><path d="M2 4h12M4 4v5M12 4v5M2.5 9h3v4h-3zM10.5 9h3v4h-3z"/></svg>',
    );
  document.head.append(link);
}

applyTheme();
addIcon();
const root = document.getElementById("app");
if (root) {
  const app = new App(root);
  window.netviz = {
    get revision() {
      return app.graph.revision;
    },
    podPosition: (key) => app.map.podPosition(key),
  };
  app.start();
}
