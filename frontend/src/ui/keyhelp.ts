// What the keys do, on `?`: the commands that have one, and what is done on the map and in a trace.

import { type Command, keyNames } from "../find/commands.js";
import { h } from "./dom.js";
import { IS_MAC } from "./palette.js";

type Line = [string[], string];

/** What isn't a command: it is about what has the focus. */
const HERE: [string, Line[]][] = [
  [
    "On the map",
    [
      [["←", "→", "↑", "↓"], "to the next node or pod"],
      [["Enter"], "go in"],
      [["+", "−"], "nearer, farther"],
      [["0"], "show all"],
      [["Shift", "click"], "trace to a second pod"],
    ],
  ],
  [
    "In a trace",
    [
      [["Space"], "play or pause"],
      [[",", "."], "one step back, one on"],
      [["1", "…", "9"], "choose a path"],
      [["R"], "trace again"],
      [["M"], "the rest of the cluster, and back"],
    ],
  ],
];

/** A dialog that `?` opens and closes. */
export class KeyHelp {
  readonly element = h("dialog", { class: "keyhelp", "aria-labelledby": "keyhelp-title" });
  private readonly lists = h("div", { class: "keylists" });

  constructor(private readonly commands: () => Command[]) {
    const close = h("button", { type: "button" }, "Close");
    close.addEventListener("click", () => this.element.close());
    this.element.append(
      h("header", {}, h("h2", { id: "keyhelp-title" }, "Keys"), close),
      this.lists,
      h(
        "p",
        { class: "muted" },
        "The list beside the map has the same nodes and pods in the same order, for the keyboard and screen readers.",
      ),
    );
  }

  toggle(): void {
    if (this.element.open) {
      this.element.close();
      return;
    }
    const everywhere: Line[] = this.commands()
      .filter((command) => command.keys)
      .map((command) => [keyNames(command.keys ?? "", IS_MAC), command.title]);
    const out: Line = [["Esc"], "Out: trace, panel, then one level"];
    this.lists.replaceChildren(
      section("Everywhere", [...everywhere, out], "wide"),
      ...HERE.map(([title, lines]) => section(title, lines)),
    );
    this.element.showModal();
  }
}

function section(title: string, lines: Line[], kind = ""): HTMLElement {
  const rows = lines.map(([keys, what]) =>
    h("div", {}, h("dt", {}, ...keys.map((key) => h("kbd", {}, key))), h("dd", {}, what)),
  );
  return h("section", { class: kind }, h("h3", {}, title), h("dl", {}, ...rows));
}
