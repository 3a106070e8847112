// Plays a trace: the packet goes from step to step on the stage and on the map, with pause, steps, and when each was seen.

import type { TraceView } from "../route.js";
import { forwardShare, latencyText, positionText, type Stop, stopFrom, stopsOf } from "../trace/playback.js";
import type { Trace } from "../trace/types.js";
import { h, icon, setText } from "./dom.js";

const STOP_MS = 500;

export class Playback {
  readonly element = h("div", { class: "playback", role: "group", "aria-label": "Playback", hidden: true });
  private readonly slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "Step" });
  private readonly position = h("b", { class: "position", "data-testid": "playback-position" });
  private readonly latency = h("span", { class: "latency", "data-testid": "playback-latency" });
  private readonly playing = h("span", {}, "Play");
  private readonly playIcon = h("span", { class: "play-icon" }, icon("play"));
  private stops: Stop[] = [];
  private view: TraceView | null = null;
  private timer: number | undefined;

  constructor(private readonly onView: (view: TraceView) => void) {
    const button = (testid: string, label: string | null, ...inner: (Node | string)[]) =>
      h("button", { type: "button", "data-testid": testid, "aria-label": label }, ...inner);
    const back = button("playback-back", "One step back", icon("stepback"), h("kbd", {}, ","));
    const on = button("playback-on", "One step on", icon("stepon"), h("kbd", {}, "."));
    const play = button("playback-play", null, this.playIcon, this.playing, h("kbd", {}, "Space"));
    play.classList.add("primary");
    back.addEventListener("click", () => this.step(-1));
    on.addEventListener("click", () => this.step(1));
    play.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => {
      this.pause();
      this.goTo(this.stops[Number(this.slider.value)]);
    });
    this.element.append(back, play, on, this.slider, this.position, this.latency);
  }

  /** Show where a trace is looked at; null hides the bar. */
  show(trace: Trace | null, view: TraceView | null): void {
    const branch = trace && view ? (trace.branches[view.branch] ?? trace.branches[0]) : undefined;
    const isOther = view?.branch !== this.view?.branch;
    this.view = view;
    this.stops = branch ? stopsOf(branch) : [];
    this.element.hidden = this.stops.length === 0;
    if (this.element.hidden || isOther) this.pause();
    if (!trace || !view) return;
    const observation = trace.observation?.nearest === view.branch ? trace.observation : null;
    const at = this.stops.findIndex((stop) => stop.seq === view.step);
    this.slider.max = String(Math.max(0, this.stops.length - 1));
    this.slider.value = String(Math.max(0, at));
    this.slider.style.setProperty("--share", `${(forwardShare(this.stops) * 100).toFixed(1)}%`);
    this.slider.setAttribute("aria-valuetext", positionText(this.stops, view.step));
    setText(this.position, positionText(this.stops, view.step));
    setText(this.latency, latencyText(this.stops, view.step, observation));
  }

  /** `,` and `.` step, Space plays or pauses unless it presses what has the focus. Tells whether the key was taken. */
  key(event: KeyboardEvent): boolean {
    if (this.element.hidden || event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === " ") {
      if (event.target instanceof HTMLElement && event.target.closest("button, a, summary")) return false;
      this.toggle();
      return true;
    }
    const by = { ",": -1, ".": 1 }[event.key];
    if (by === undefined) return false;
    this.step(by);
    return true;
  }

  private step(by: number): void {
    this.pause();
    this.goTo(stopFrom(this.stops, this.view?.step ?? null, by));
  }

  private toggle(): void {
    if (this.timer !== undefined) {
      this.pause();
      return;
    }
    const isAtEnd = this.view?.step === this.stops.at(-1)?.seq;
    this.timer = window.setInterval(() => this.advance(), STOP_MS);
    this.showPlaying();
    this.goTo(isAtEnd ? this.stops[0] : stopFrom(this.stops, this.view?.step ?? null, 1));
  }

  private advance(): void {
    if (!this.element.isConnected || this.view?.step === this.stops.at(-1)?.seq) this.pause();
    else this.goTo(stopFrom(this.stops, this.view?.step ?? null, 1));
  }

  private pause(): void {
    window.clearInterval(this.timer);
    this.timer = undefined;
    this.showPlaying();
  }

  private showPlaying(): void {
    const isPlaying = this.timer !== undefined;
    setText(this.playing, isPlaying ? "Pause" : "Play");
    this.playIcon.replaceChildren(icon(isPlaying ? "pause" : "play"));
  }

  private goTo(stop: Stop | undefined): void {
    if (stop && this.view) this.onView({ ...this.view, direction: stop.direction, step: stop.seq });
  }
}
