// The list of problems: groups by harm, one row each, that neither jumps nor loses the focus.

import type { ProblemObj } from "../graph/model.js";
import { naturalCompare } from "../layout/natural.js";
import { clock, type Group, lasting, type Mark, markOf, reachText } from "../problems.js";
import { h, icon, s, setText } from "./dom.js";

const MARKS: Record<Mark, string> = { cross: "breaks", triangle: "alert", check: "passes" };
/** With more nodes than this a place is a point on one bar. */
const MOST_BOXES = 12;

export function markIcon(mark: Mark): HTMLElement {
  return h("span", { class: `mark ${mark}` }, icon(MARKS[mark]));
}

export class ProblemList {
  readonly element = h("div", { class: "problem-list", "aria-label": "Problems" });
  private readonly rows = new Map<string, HTMLElement>();
  private nodes: string[] = [];

  constructor(private readonly onPick: (id: string) => void) {}

  show(groups: Group[], selected: string | null, nodes: Iterable<string>, now: Date): void {
    // A list box has to have something to choose.
    this.element.setAttribute("role", groups.length > 0 ? "listbox" : "group");
    this.nodes = [...nodes].sort(naturalCompare);
    const wanted: HTMLElement[] = [];
    const seen = new Set<string>();
    for (const group of groups) {
      wanted.push(this.heading(group));
      for (const problem of group.problems) {
        seen.add(problem.id);
        wanted.push(this.row(problem, problem.id === selected, now));
      }
    }
    for (const [id, row] of this.rows) {
      if (seen.has(id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    for (const old of [...this.element.querySelectorAll(".group-head, .none")]) old.remove();
    if (wanted.length === 0) wanted.push(h("p", { class: "none" }, "Nothing to list."));
    wanted.forEach((element, i) => {
      if (this.element.children[i] !== element)
        this.element.insertBefore(element, this.element.children[i] ?? null);
    });
  }

  /** The ids in the order in which they are shown. */
  order(): string[] {
    return [...this.element.querySelectorAll<HTMLElement>(".problem")].map((row) => row.dataset.id ?? "");
  }

  reveal(id: string): void {
    this.rows.get(id)?.scrollIntoView({ block: "nearest" });
  }

  private heading(group: Group): HTMLElement {
    return h(
      "div",
      { class: "group-head", role: "presentation" },
      h("b", {}, group.title),
      h("span", {}, String(group.problems.length)),
    );
  }

  private row(problem: ProblemObj, isSelected: boolean, now: Date): HTMLElement {
    let row = this.rows.get(problem.id);
    if (!row) {
      row = h("div", {
        class: "problem",
        role: "option",
        tabindex: "-1",
        "data-id": problem.id,
        "data-testid": "problem",
      });
      const { id } = problem;
      row.addEventListener("click", () => this.onPick(id));
      row.append(
        h("span", { class: "mark-cell" }),
        h("span", { class: "headline" }),
        h("span", { class: "reach" }),
        h("span", { class: "place" }),
        h("span", { class: "when" }),
        h("span", { class: "for" }),
      );
      this.rows.set(problem.id, row);
    }
    row.dataset.kind = problem.kind;
    row.dataset.node = problem.where.node;
    row.dataset.state = problem.gone !== null ? "gone" : problem.state;
    row.setAttribute("aria-selected", String(isSelected));
    const [mark, headline, reach, place, when, duration] = [...row.children] as HTMLElement[];
    if (!mark || !headline || !reach || !place || !when || !duration) return row;
    const shape = markOf(problem);
    if (mark.dataset.mark !== shape) {
      mark.dataset.mark = shape;
      mark.replaceChildren(markIcon(shape));
    }
    setText(headline, problem.headline);
    setText(reach, reachText(problem));
    this.place(place, problem);
    const began = problem.since ?? problem.found;
    setText(when, `${problem.since === null ? "before " : ""}${clock(began, now)}`);
    const end = problem.until ?? problem.gone;
    setText(duration, end === null ? lasting(began, now) : `lasted ${lasting(began, new Date(end))}`);
    return row;
  }

  /** Where it is on the map: the node's box among all, in their order there. */
  private place(element: HTMLElement, problem: ProblemObj): void {
    const at = this.nodes.indexOf(problem.where.node);
    const key = `${at}/${this.nodes.length}/${markOf(problem)}`;
    if (element.dataset.drawn === key) return;
    element.dataset.drawn = key;
    element.replaceChildren(...(at < 0 ? [] : [placeImage(at, this.nodes.length, problem)]));
  }
}

function placeImage(at: number, total: number, problem: ProblemObj): SVGSVGElement {
  const width = 72;
  const height = 24;
  const boxes = Math.min(total, MOST_BOXES);
  const isBar = total > MOST_BOXES;
  const pitch = isBar ? width : Math.min(26, width / boxes);
  const box = pitch - (isBar ? 0 : 3);
  const rects = Array.from({ length: isBar ? 1 : boxes }, (_, i) =>
    s("rect", { x: i * pitch, y: 2, width: box, height: height - 4, rx: 3, class: "box" }),
  );
  const x = isBar ? 4 + ((width - 8) * at) / Math.max(1, total - 1) : at * pitch + box / 2;
  const dot = s("circle", { cx: x, cy: height / 2, r: 4, class: `dot ${markOf(problem)}` });
  return s(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": `on ${problem.where.node}`,
    },
    ...rects,
    dot,
  );
}
