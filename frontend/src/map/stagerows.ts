// The cards and rows of a trace on its stage: for each station its place, a few words for each direction, and what was seen.

import type { StageCard } from "../layout/stage.js";
import { type Mark, markWords, sinceSent } from "../trace/observed.js";
import { type Column, type Direction, shortWords } from "../trace/stations.js";
import type { Observation, Step } from "../trace/types.js";
import { h, icon } from "../ui/dom.js";
import type { Ends } from "./stagelanes.js";

/** Where the packet is to go, if that is on the map. */
export interface Goal {
  node: string;
  title: string;
  isPod: boolean;
}

export function isSameGoal(a: Goal | null, b: Goal | null): boolean {
  return a?.node === b?.node && a?.title === b?.title && a?.isPod === b?.isPod;
}

/** With the goal of a packet that doesn't arrive: on its node if the path comes by that, else beside it. */
export function withGoal(columns: Column[], ends: Ends | null, goal: Goal | null): Column[] {
  if (!goal || ends?.direction !== "forward") return columns;
  const isThere = columns.some((column) =>
    column.places.some((place) => place.node === goal.node && place.title === goal.title),
  );
  if (isThere) return columns;
  const place = { key: "goal", ...goal, stations: [] };
  if (!columns.some((column) => column.node === goal.node))
    return [...columns, { node: goal.node, places: [place] }];
  return columns.map((column) =>
    column.node === goal.node ? { ...column, places: [...column.places, place] } : column,
  );
}

export function drawCard(card: StageCard): HTMLElement {
  const element = h(
    "div",
    {
      class: `stagecard ${card.column === 0 ? "lanes-right" : "lanes-left"}${card.rows.length > 0 ? "" : " missed"}`,
    },
    h("h3", {}, icon(card.isPod ? "pod" : "node"), h("span", { title: card.title }, card.title)),
    h("span", { class: "sub" }, card.rows.length > 0 ? card.sub : `${card.sub}, not reached`),
  );
  Object.assign(element.style, {
    left: `${card.x}px`,
    top: `${card.y}px`,
    width: `${card.w}px`,
    height: `${card.h}px`,
  });
  return element;
}

export function sentence(step: Step, direction: Direction, column: number, isEnd: boolean): HTMLElement {
  // In the first column forward goes down, in the others up; return goes the other way.
  const isDown = (direction === "forward") === (column === 0);
  return h(
    "span",
    { class: `line ${direction}${isEnd ? " failed" : ""}` },
    h(
      "span",
      { class: "way", "aria-label": direction === "forward" ? "forward" : "return" },
      isDown ? "↓" : "↑",
    ),
    h(
      "span",
      { class: "words" },
      isEnd && step.reason ? `${shortWords(step)} (${step.reason})` : shortWords(step),
    ),
  );
}

export function mark(
  seen: { mark: Mark; ts_ns: number | null },
  direction: Direction,
  observation: Observation,
): HTMLElement {
  const { sign, words } = markWords(seen.mark);
  const way = direction === "forward" ? "forward" : "return";
  return h(
    "span",
    { class: `mark ${seen.mark} ${direction}`, title: `${way}: ${words}` },
    h("span", { class: "ms" }, sinceSent(seen.ts_ns, observation)),
    h("span", { class: "sign", "aria-label": words }, sign),
  );
}
