// What is found as one types, shown in a picker, with what else is to be said of it: the search box's and the palette's.

import type { Answer } from "../find/asking.js";
import { Asking } from "../find/asking.js";
import { type Found, grouped, hitRoute, spoken, TYPE_NAMES } from "../find/hits.js";
import type { Route } from "../route.js";
import { h, setText } from "./dom.js";
import type { Picker, PickGroup } from "./picker.js";

/** After the last key, so that a screen reader isn't told of each. */
const SPEAK_MS = 500;

export interface SearchHost {
  search(text: string): Promise<Found>;
  /** The address of a namespace, where the page has it. */
  addrOf(key: string): string | null;
  choose(route: Route): void;
}

export class Searching {
  /** Under the results: that there are more, none, not all yet, or why there is no answer. */
  readonly note = h("div", { class: "picknote", hidden: true });
  readonly status = h("div", { class: "sr", role: "status" });
  private readonly asking: Asking;
  private groups: PickGroup[] = [];
  private speakTimer: number | undefined;

  constructor(
    private readonly host: SearchHost,
    private readonly picker: Picker,
    private readonly onGroups: (groups: PickGroup[]) => void,
    private readonly onChoose: () => void,
  ) {
    this.asking = new Asking(
      (text) => host.search(text),
      (answer) => this.take(answer),
    );
  }

  ask(text: string): void {
    this.asking.ask(text);
  }

  stop(): void {
    this.asking.stop();
    this.groups = [];
    this.note.hidden = true;
    window.clearTimeout(this.speakTimer);
    setText(this.status, "");
  }

  private take(answer: Answer): void {
    if (answer.state === "idle") this.stop();
    // What was found before stays until there is another answer.
    if (answer.state === "asking") {
      this.picker.wait();
      if (this.groups.length === 0) this.say("Searching…");
      return;
    }
    if (answer.state === "found") {
      const { found, text } = answer;
      this.groups = grouped(found, text).map((group) => ({
        title: group.title,
        picks: group.hits.map((hit) => ({
          title: hit.name,
          kind: TYPE_NAMES[hit.type] ?? hit.type,
          matched: hit.matched ?? this.host.addrOf(hit.key),
          place: hit.where,
          choose: () => {
            this.onChoose();
            this.host.choose(hitRoute(hit, text));
          },
        })),
      }));
      this.say(noteOf(found, text));
      this.speak(spoken(found, text));
    } else if (answer.state === "failed") {
      this.groups = [];
      const again = h("button", { type: "button", class: "quiet inline" }, "Try again");
      again.addEventListener("pointerdown", (event) => event.preventDefault());
      again.addEventListener("click", () => this.asking.again());
      this.say(`${answer.error.message} `, again);
      this.speak(answer.error.message);
    }
    this.onGroups(this.groups);
  }

  private say(...parts: (Node | string)[]): void {
    this.note.hidden = parts.length === 0 || parts[0] === "";
    this.note.replaceChildren(...parts);
  }

  private speak(text: string): void {
    window.clearTimeout(this.speakTimer);
    this.speakTimer = window.setTimeout(() => setText(this.status, text), SPEAK_MS);
  }
}

function noteOf(found: Found, text: string): string {
  if (found.partial)
    return "The server is still building its index, as after a restart: more results may follow.";
  if (found.hits.length === 0)
    return `Nothing found for “${text}” among pods, services, workloads, nodes, links, MACs, routes, and netfilter rules with their comments.`;
  return found.more ? "There are more. Type more to narrow it." : "";
}
