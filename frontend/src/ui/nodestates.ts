// What is wrong with what is known of a node, and what to do next: in words, and in commands that work as they stand.

import type { NodeObj } from "../graph/model.js";
import { codeLine } from "./detail.js";
import { h } from "./dom.js";
import { note } from "./errors.js";
import { seconds } from "./names.js";

export function nodeStates(node: NodeObj, role: string): HTMLElement[] {
  const isAdmin = role === "administrator";
  if (node.leaves_in_s !== null)
    return [note("bad", leaving(node.leaves_in_s)), next(toCollectors(node, isAdmin))];
  const parts: HTMLElement[] = [];
  if (!node.connected)
    parts.push(
      note(
        "bad",
        node.age_s < 1
          ? "Its collector isn’t connected; what is shown may be out of date."
          : `Its collector isn’t connected; what is shown is ${seconds(node.age_s)} old.`,
      ),
      next(
        h(
          "span",
          {},
          "On ",
          h("b", {}, node.name),
          ": does it run, and does it reach the server? Its log says why it was refused.",
        ),
      ),
      codeLine("pgrep -af 'agents run'"),
      codeLine(`curl -sS -o /dev/null -w '%{http_code}\\n' ${location.origin}/healthz`),
      next(toCollectors(node, isAdmin)),
    );
  if (node.not_understood !== null)
    parts.push(
      note(
        "bad",
        `The server doesn't understand what its collector sent, so nothing of it is shown or checked: ${node.not_understood}`,
      ),
      next(
        h(
          "span",
          {},
          "Its collector may be of another version than the server. The server’s log has the details.",
        ),
      ),
    );
  return parts;
}

function leaving(left: number): string {
  const when = left < 1 ? "now" : `in ${seconds(left)}`;
  return `Its collector is revoked: the node leaves the map ${when}, unless a collector is approved for it.`;
}

/** Where it is approved, or who can do that. */
function toCollectors(node: NodeObj, isAdmin: boolean): HTMLElement {
  const href = `/admin/inventory/collector/?q=${encodeURIComponent(node.name)}`;
  return isAdmin
    ? h("a", { href }, "Its collectors: approved, waiting or revoked")
    : h("span", {}, "An administrator sees whether its collector is approved, waits or is revoked.");
}

function next(what: HTMLElement): HTMLElement {
  return h("p", { class: "next" }, what);
}
