import "../../netviz/static/netviz/tokens.css";
import "./style/page.css";
import "./style/shared.css";
import "./style/panels.css";
import "./style/observe.css";
import "./style/problems.css";
import "./style/kube.css";
import "./style/faults.css";
import "./style/arrivals.css";
import "./style/map.css";
import "./style/stage.css";
import { App } from "./app.js";
import type { Graph } from "./graph/store.js";
import type { Point } from "./layout/scene.js";
import { applyExplanations } from "./learn/learn.js";
import type { Level } from "./map/level.js";
import { applyTheme } from "./ui/themes.js";

declare global {
  interface Window {
    /** For browser tests and benchmarks. */
    netviz: {
      readonly revision: number;
      readonly graph: Graph;
      /** When the first picture of the nodes was drawn, in milliseconds since the navigation; null before. */
      readonly pictureAt: number | null;
      /** Where a pod's tile is on the page. */
      podPosition(key: string): Point | null;
      /** Look at a node from where it is drawn at a level. */
      look(node: string, level: Level): void;
    };
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
applyExplanations();
addIcon();
const root = document.getElementById("app");
if (root) {
  const app = new App(root);
  window.netviz = {
    get revision() {
      return app.graph.revision;
    },
    graph: app.graph,
    get pictureAt() {
      return app.map.pictureAt;
    },
    podPosition: (key) => app.map.podPosition(key),
    look: (node, level) => app.map.look(node, level),
  };
  app.start();
}
