// What the keys do, on `?`.

import { h } from "../ui/dom.js";

const KEYS: [string, [string[], string][]][] = [
  [
    "Everywhere",
    [
      [["/"], "search"],
      [["T"], "trace"],
      [["M"], "map, or in a trace: the whole map and back"],
      [["Esc"], "out: trace, panel, then one level"],
      [["?"], "this help"],
    ],
  ],
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
      [["M"], "the rest of the cluster"],
    ],
  ],
];

/** A dialog that `?` opens and closes. */
export class KeyHelp {
  readonly element = h("dialog", { class: "keyhelp", "aria-labelledby": "keyhelp-title" });

  constructor() {
    const close = h("button", { type: "button" }, "Close");
    close.addEventListener("click", () => this.element.close());
    const lists = KEYS.map(([title, keys]) =>
      h(
        "section",
        {},
        h("h3", {}, title),
        h(
          "dl",
          {},
          ...keys.flatMap(([names, what]) => [
            h("dt", {}, ...names.map((key) => h("kbd", {}, key))),
            h("dd", {}, what),
          ]),
        ),
      ),
    );
    this.element.append(
      h("header", {}, h("h2", { id: "keyhelp-title" }, "Keys"), close),
      h("div", { class: "keylists" }, ...lists),
      h(
        "p",
        { class: "muted" },
        "The list beside the map has the same nodes and pods in the same order, for the keyboard and screen readers.",
      ),
    );
  }

  toggle(): void {
    if (this.element.open) this.element.close();
    else this.element.showModal();
  }
}
