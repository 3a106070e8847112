// Capture: packets at every hop of a trace, or at a link, started and stopped here, and had as pcapng.

import {
  type CaptureRun,
  type CaptureSeen,
  capturedDropText,
  captureGaps,
  captureText,
  crossedTexts,
  unseenTexts,
  wayTitle,
} from "../trace/captures.js";
import { isRunning } from "../trace/observed.js";
import type { Context } from "./context.js";
import { h } from "./dom.js";
import { errorNote, note } from "./errors.js";
import { count } from "./names.js";

const SECONDS = [10, 30, 60];
const TOUCHES =
  "Listens at these devices and sends nothing. At most 1,000 packets and 1 MiB; kept for a day, for those who may observe. The audit log keeps who captured what.";

export class CapturePart {
  readonly element: HTMLDetailsElement;
  private readonly start = h("button", { type: "button", "data-testid": "capture-start" }, "Capture");
  private readonly stop = h(
    "button",
    { type: "button", "data-testid": "capture-stop", hidden: true },
    "Stop",
  );
  private readonly seconds = h(
    "select",
    { "aria-label": "How long" },
    ...SECONDS.map((one) => h("option", { value: one }, `${one} s`)),
  );
  private readonly full = h("input", { type: "checkbox", id: "capture-full" });
  private readonly said = h("div", { role: "status", "data-testid": "capture-standing" });
  private run: CaptureRun | null = null;
  private stopFollowing: () => void = () => {};

  constructor(
    private readonly context: Context,
    /** What to capture: a trace's id, or a link's key. */
    private readonly what: () => { trace: string } | { link: string } | null,
    words: string,
  ) {
    const why = context.whyNotObserve;
    this.start.disabled = why !== "";
    this.start.addEventListener("click", () => void this.begin());
    this.stop.addEventListener("click", () => void this.end());
    this.element = h(
      "details",
      { class: "section capture" },
      h("summary", { "data-testid": "capture-open" }, h("h3", {}, words)),
      h("p", { class: "muted touch" }, why || TOUCHES),
      h(
        "div",
        { class: "capture-line" },
        this.seconds,
        h("label", { for: "capture-full" }, this.full, " payload too, not only headers"),
        this.start,
        this.stop,
      ),
      this.said,
    );
  }

  dispose(): void {
    this.stopFollowing();
  }

  private async begin(): Promise<void> {
    const what = this.what();
    if (!what) return;
    this.stopFollowing();
    this.start.disabled = true;
    try {
      const seconds = Number(this.seconds.value);
      this.show(
        await this.context.api.startCapture({
          ...what,
          ...("trace" in what ? { drops: true } : {}),
          seconds,
          full: this.full.checked,
        }),
      );
      if (!this.run) return;
      this.stopFollowing = this.context.api.followObservation(
        this.run.id,
        (found) => this.show(found as unknown as CaptureRun),
        (error) => this.fail(error),
      );
    } catch (error) {
      this.fail(error as Error);
    }
  }

  private async end(): Promise<void> {
    if (!this.run) return;
    this.stop.disabled = true;
    try {
      await this.context.api.stopCapture(this.run.id);
    } catch (error) {
      this.fail(error as Error);
    }
  }

  private fail(error: Error): void {
    this.start.disabled = false;
    this.stop.hidden = true;
    this.said.replaceChildren(errorNote(error));
  }

  private show(run: CaptureRun): void {
    this.run = run;
    const running = isRunning(run);
    this.start.disabled = running;
    this.stop.hidden = !running;
    this.stop.disabled = false;
    const text = captureText(run, Number(this.seconds.value));
    const file = h(
      "a",
      {
        class: "button",
        href: `/api/captures/${encodeURIComponent(run.id)}`,
        download: "",
        "data-testid": "capture-file",
      },
      running ? "Download what is there so far" : "Download pcapng",
    );
    const hasFile = run.capture !== null && run.status !== "failed";
    this.said.replaceChildren(
      run.status === "failed" ? note("bad", text) : h("p", { class: running ? "busy" : "" }, text),
      ...(run.capture ? captureGaps(run.capture) : []).map((sentence) => note("warn", sentence)),
      ...(hasFile ? [h("p", {}, file)] : []),
      ...(running ? [] : (run.capture?.drops ?? [])).map((group) => note("warn", capturedDropText(group))),
      ...(run.capture?.heard && !running ? heardParts(run.capture.heard) : []),
    );
  }
}

/** Which way the first packets went. */
function heardParts(heard: NonNullable<CaptureSeen["heard"]>): HTMLElement[] {
  const again = heard.again > 0 ? [`${count(heard.again, "packet was", "packets were")} sent again.`] : [];
  const rest =
    heard.unfollowed > 0
      ? [`${count(heard.unfollowed, "frame", "frames")} can’t be followed from device to device.`]
      : [];
  return [
    h(
      "ul",
      { class: "ways" },
      ...heard.ways.map((way) =>
        h(
          "li",
          { "data-testid": "heard" },
          h(
            "details",
            {},
            h("summary", { class: way.again > 0 ? "again" : "" }, wayTitle(way)),
            ...crossedTexts(way).map((text) => h("p", {}, text)),
            ...unseenTexts(way).map((text) => h("p", { class: "muted" }, text)),
          ),
        ),
      ),
    ),
    ...[...again, ...rest].map((text) => h("p", { class: "muted" }, text)),
  ];
}
