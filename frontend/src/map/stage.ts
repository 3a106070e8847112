// A trace in focus: only the nodes on its path, large, hop by hop. It lies over the map, which stays as it is below.

import { layoutStage, type StageLayout, type StageRow } from "../layout/stage.js";
import type { TraceView } from "../route.js";
import { choicesOf, sharedStart } from "../trace/choices.js";
import { dispositionWords, percent, protocolText, replyWords } from "../trace/format.js";
import { columnsOf, type Direction, type Station, seenAt, tellingStep } from "../trace/stations.js";
import type { Branch, Observation, Trace } from "../trace/types.js";
import { h, icon, setText } from "../ui/dom.js";
import { drawLanes, type Ends, endOf, outside, stageLegend } from "./stagelanes.js";
import { drawCard, type Goal, isSameGoal, mark, sentence, withGoal } from "./stagerows.js";

export interface StageEvents {
  /** Another step, direction or branch is wanted. */
  onView(view: TraceView): void;
  /** The rest of the cluster, or back to the stage. */
  onWhole(): void;
  onLeave(): void;
}

/** Below the wire between the nodes there is nothing to see. */
const LANES_FOOT = 24;

const ICONS: Record<Station["kind"], string> = {
  socket: "end",
  link: "tx",
  bridge: "bridge",
  route: "route",
  shield: "shield",
  conntrack: "swap",
  tunnel: "box",
  unknown: "unknown",
};

export class Stage {
  readonly element = h("section", {
    class: "stage",
    "aria-label": "Trace",
    "data-testid": "stage",
    hidden: true,
  });
  private readonly bar = h("div", { class: "stagebar" });
  private readonly choices = h("div", { class: "stagechoices", role: "group", "aria-label": "Paths" });
  private readonly scroller = h("div", { class: "stagescroll" });
  private readonly board = h("div", { class: "board" });
  private readonly legend = stageLegend();
  private readonly more = h("button", { type: "button", class: "stagemore", hidden: true });
  private trace: Trace | null = null;
  private view: TraceView | null = null;
  private goal: Goal | null = null;
  private brought: string | null = null;
  private layout: StageLayout | null = null;
  /** What of the scroller is in sight. Both are told when they change: to ask would have the page laid out. */
  private size = { width: 0, height: 0 };
  private top = 0;

  constructor(private readonly events: StageEvents) {
    this.scroller.append(this.board);
    this.element.append(this.bar, this.choices, this.scroller, this.more, this.legend);
    new ResizeObserver(([entry]) => this.resized(entry)).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.more.addEventListener("click", () => this.scroller.scrollBy({ top: this.size.height * 0.8 }));
  }

  /** Show a trace; null hides the stage. */
  show(trace: Trace | null, view: TraceView | null, goal: Goal | null = null): void {
    const isNew = trace !== this.trace;
    if (!isNew && view === this.view && isSameGoal(goal, this.goal)) return;
    this.goal = goal;
    this.trace = trace;
    this.view = view;
    this.element.hidden = trace === null;
    if (!trace) return;
    if (isNew) {
      this.brought = null;
      this.fillBar(trace);
    }
    this.render();
  }

  get isShown(): boolean {
    return !this.element.hidden;
  }

  /** `1` to `9` choose a path. Tells whether the key was taken. */
  key(event: KeyboardEvent): boolean {
    if (!this.trace || !this.view || event.ctrlKey || event.metaKey || event.altKey) return false;
    const choice = /^[1-9]$/.test(event.key)
      ? choicesOf(this.trace.branches)[Number(event.key) - 1]
      : undefined;
    if (!choice) return false;
    this.events.onView({ ...this.view, branch: choice.branches[0] ?? 0, direction: "forward", step: null });
    return true;
  }

  private resized(entry: ResizeObserverEntry | undefined): void {
    if (!entry) return;
    const { width, height } = entry.contentRect;
    this.size = { width, height };
    this.render();
  }

  private scrolled(): void {
    this.top = this.scroller.scrollTop;
    this.tellMore();
  }

  private branch(): Branch | undefined {
    return this.trace?.branches[this.view?.branch ?? 0] ?? this.trace?.branches[0];
  }

  private fillBar(trace: Trace): void {
    const leave = h("button", { type: "button" }, "Leave", h("kbd", {}, "Esc"));
    leave.addEventListener("click", () => this.events.onLeave());
    const whole = h(
      "button",
      { type: "button", "data-testid": "stage-whole" },
      "Whole map",
      h("kbd", {}, "M"),
    );
    whole.addEventListener("click", () => this.events.onWhole());
    const [from, to] = endsOf(trace);
    this.bar.replaceChildren(
      leave,
      h("span", { class: "pill", title: from }, icon("pod"), h("span", {}, from)),
      h("span", { class: "arrow", "aria-label": "to" }, "→"),
      h("span", { class: "pill", title: to }, icon("pod"), h("span", {}, to)),
      h("span", { class: "pill" }, protocolText(trace)),
      h("span", { class: "spring" }),
      whole,
    );
  }

  private fillChoices(trace: Trace, view: TraceView): void {
    const choices = choicesOf(trace.branches);
    this.choices.hidden = choices.length < 2;
    const shared = sharedStart(choices.map(({ title }) => title));
    this.choices.replaceChildren(
      ...choices.slice(0, 9).map((choice, i) => {
        const branch = trace.branches[choice.branches[0] ?? 0];
        const words = branch && branchWords(branch);
        const button = h(
          "button",
          {
            type: "button",
            class: "choicecard",
            "aria-pressed": String(choice.branches.includes(view.branch)),
            "data-testid": "stage-branch",
            title: choice.why,
          },
          h("b", { title: choice.title }, choice.title.slice(shared)),
          h("span", { class: "chance" }, choice.probability === null ? "" : percent(choice.probability)),
          h("span", { class: `verdict ${words?.tone ?? "warn"}` }, words?.text ?? ""),
          h("kbd", {}, String(i + 1)),
        );
        button.addEventListener("click", () =>
          this.events.onView({ ...view, branch: choice.branches[0] ?? 0, direction: "forward", step: null }),
        );
        return button;
      }),
    );
  }

  private render(): void {
    const { trace, view } = this;
    const branch = this.branch();
    if (!trace || !view || !branch || this.element.hidden) return;
    this.fillChoices(trace, view);
    const { width, height } = this.size;
    if (width === 0) return;
    const ends = endOf(branch);
    const columns = withGoal(columnsOf(branch), ends, this.goal);
    const layout = layoutStage(columns, width, height);
    this.layout = layout;
    // What was seen is laid beside the branch that the packet took.
    const observation = trace.observation?.nearest === view.branch ? trace.observation : null;
    this.board.style.width = `${layout.width}px`;
    this.board.style.height = `${layout.height}px`;
    this.board.classList.toggle("tall", layout.isTall);
    const cards = layout.cards.map((card) => drawCard(card));
    const rows = layout.cards.flatMap((card) =>
      card.rows.map((row) => this.drawRow(row, layout, ends, observation, view)),
    );
    this.board.replaceChildren(...cards, ...rows, drawLanes(layout, branch, ends), ...outside(layout, ends));
    this.bringEnd(trace, view);
    this.tellMore();
  }

  /** Say how much is below what is in sight. */
  private tellMore(): void {
    if (!this.layout) return;
    const bottom = this.top + this.size.height;
    const rows = this.layout.cards.flatMap((card) => card.rows);
    const below = rows.filter((row) => row.y + row.h / 2 > bottom).length;
    const isWireBelow = bottom < this.layout.height - LANES_FOOT;
    this.more.hidden = below === 0 && !isWireBelow;
    setText(this.more, below === 0 ? "The wire is below ↓" : `${below} more below ↓`);
  }

  private drawRow(
    row: StageRow,
    layout: StageLayout,
    ends: Ends | null,
    observation: Observation | null,
    view: TraceView,
  ): HTMLElement {
    const { station } = row;
    const failed = ends?.step ?? null;
    const isEnd = failed !== null && (station.forward.includes(failed) || station.reply.includes(failed));
    const steps = [...station.forward, ...station.reply];
    const isSelected = steps.some((step) => step.seq === view.step);
    const wanted: Direction[] =
      layout.sentences === 2
        ? ["forward", "reply"]
        : layout.sentences === 1
          ? [oneOf(station, view, ends)]
          : [];
    const lines = wanted.flatMap((direction) => {
      const step = tellingStep(station[direction], failed);
      return step ? [sentence(step, direction, row.column, step === failed)] : [];
    });
    const marks = (["forward", "reply"] as const).flatMap((direction) => {
      const seen = observation && seenAt(station[direction]);
      return seen ? [mark(seen, direction, observation)] : [];
    });
    const element = h(
      "button",
      {
        type: "button",
        class: `station ${row.column === 0 ? "lanes-right" : "lanes-left"}${isEnd ? " ends" : ""}`,
        "aria-pressed": String(isSelected),
        "data-testid": "station",
        "data-place": station.kind,
        "data-end": isEnd ? "" : null,
        title: steps.map((step) => step.why).join("\n"),
      },
      icon(ICONS[station.kind]),
      h("span", { class: "place", title: station.isOuter ? OUTER_WORDS : null }, ...placeWords(station)),
      h("span", { class: "lines" }, ...lines),
      h("span", { class: "marks" }, ...marks),
    );
    Object.assign(element.style, {
      left: `${row.x + 4}px`,
      top: `${row.y}px`,
      width: `${row.w - 8}px`,
      height: `${row.h}px`,
    });
    element.addEventListener("click", () => {
      const direction = oneOf(station, view, ends);
      const step = tellingStep(station[direction], failed);
      if (step) this.events.onView({ ...view, direction, step: step.seq });
    });
    return element;
  }

  /** The end of a way that fails is in sight at first, and a step that is selected always. */
  private bringEnd(trace: Trace, view: TraceView): void {
    const wanted = `${trace.flow.src} ${view.branch} ${view.step}`;
    if (wanted === this.brought) return;
    this.brought = wanted;
    const selected = this.board.querySelector<HTMLElement>(
      view.step === null ? "[data-end]" : '.station[aria-pressed="true"]',
    );
    selected?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

const OUTER_WORDS = "what happens to the tunnel’s own packet, which carries the pod’s";

function placeWords(station: Station): (Node | string)[] {
  return station.isOuter ? [h("span", { class: "outer-packet" }, "outer "), station.title] : [station.title];
}

/** The direction that a station is looked at in: the one that ends there, else the one that the panel shows. */
function oneOf(station: Station, view: TraceView, ends: Ends | null): Direction {
  if (ends && station[ends.direction].includes(ends.step)) return ends.direction;
  if (station[view.direction].length > 0) return view.direction;
  return view.direction === "forward" ? "reply" : "forward";
}

function endsOf(trace: Trace): [string, string] {
  const branch = trace.branches[0];
  const name = (side: "first" | "last") => {
    const hops = branch?.forward.hops ?? [];
    const hop = side === "first" ? hops[0] : hops.at(-1);
    const pod = hop?.pod;
    return pod ? (typeof pod === "string" ? pod : `${pod.namespace}/${pod.name}`) : null;
  };
  const isThere = branch?.disposition === "DELIVERED";
  return [name("first") ?? trace.flow.src, (isThere ? name("last") : null) ?? trace.flow.dst];
}

function branchWords(branch: Branch): { tone: string; text: string } {
  const words = dispositionWords(branch.disposition);
  const back = replyWords(branch);
  if (words.tone === "good" && back && back.tone !== "good")
    return { tone: "bad", text: `reply ${back.short}` };
  return { tone: words.tone, text: words.tone === "good" && back ? "good both ways" : words.short };
}
