// Asks the server as somebody types: not at each key, and only the last answer counts. An answer that is partial is
// asked for again while the text stays.

import type { Found } from "./hits.js";

export type Answer =
  | { state: "idle" }
  | { state: "asking"; text: string }
  | { state: "found"; text: string; found: Found }
  | { state: "failed"; text: string; error: Error };

export const TYPING_MS = 90;
export const AGAIN_MS = 1000;

export class Asking {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private turn = 0;
  private text = "";

  constructor(
    private readonly get: (text: string) => Promise<Found>,
    private readonly onAnswer: (answer: Answer) => void,
  ) {}

  ask(typed: string): void {
    const text = typed.trim();
    if (text === this.text) return;
    this.stop();
    this.text = text;
    if (!text) {
      this.onAnswer({ state: "idle" });
      return;
    }
    this.onAnswer({ state: "asking", text });
    this.later(TYPING_MS);
  }

  /** Ask for the same once more. */
  again(): void {
    const { text } = this;
    this.text = "";
    this.ask(text);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.turn += 1;
    this.text = "";
  }

  private later(wait: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.fetch(), wait);
  }

  private async fetch(): Promise<void> {
    const { text } = this;
    this.turn += 1;
    const { turn } = this;
    try {
      const found = await this.get(text);
      if (turn !== this.turn) return;
      this.onAnswer({ state: "found", text, found });
      if (found.partial) this.later(AGAIN_MS);
    } catch (error) {
      if (turn === this.turn) this.onAnswer({ state: "failed", text, error: error as Error });
    }
  }
}
