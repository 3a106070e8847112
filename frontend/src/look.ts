// How the map is looked at, as the address says it beside whatever is shown.

import { type Grouping, isGrouping } from "./layout/groups.js";
import { OVERLAYS, type OverlayId } from "./overlays/overlay.js";

/** How the map is looked at, beside whatever is shown: what its colours say, and by what nodes are put together. */
export interface MapLook {
  colour: OverlayId;
  group: Grouping;
}

export const FIRST_LOOK: MapLook = { colour: "problems", group: "subnet" };

export function lookIn(hash: string): MapLook {
  const params = new URLSearchParams(hash.split("?")[1] ?? "");
  const group = params.get("group") ?? "";
  return {
    colour: OVERLAYS.find((id) => id === params.get("colour")) ?? FIRST_LOOK.colour,
    group: isGrouping(group) ? group : FIRST_LOOK.group,
  };
}

/** The address with another look at the map. */
export function withLook(hash: string, look: MapLook): string {
  const [path = "", query = ""] = hash.split("?");
  const params = new URLSearchParams(query);
  let isSame = true;
  for (const name of ["colour", "group"] as const) {
    const wanted = look[name] === FIRST_LOOK[name] ? null : look[name];
    if (params.get(name) === wanted) continue;
    isSame = false;
    if (wanted === null) params.delete(name);
    else params.set(name, wanted);
  }
  const text = params.toString();
  return isSame ? hash : text ? `${path}?${text}` : path;
}

/** Whatever a link on the page leads to, the look at the map stays. */
export function keepLook(now: () => MapLook): void {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const href = link?.getAttribute("href") ?? "";
    const isPlain = !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.defaultPrevented;
    const kept = withLook(href, now());
    if (!href.startsWith("#/") || kept === href || !isPlain) return;
    event.preventDefault();
    location.hash = kept;
  });
}
