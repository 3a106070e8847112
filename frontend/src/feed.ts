// The connection to /ws/topology: keeps the graph current, reconnects with back-off, and says when
// the picture is stale. A tab may sleep for days: everything is driven by when something was last
// heard, never by counting timer ticks.

import type { ServerMessage } from "./graph/model.js";
import type { Graph } from "./graph/store.js";

export type FeedState = "connecting" | "live" | "stale";

export const SILENCE_MS = 15_000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;

/** Milliseconds to wait before attempt number `attempt` (0 = first retry); `jitter` in [0, 1). */
export function retryDelay(attempt: number, jitter: number): number {
  const ceiling = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt, 10));
  return ceiling * (0.5 + jitter / 2);
}

/** Names of nodes; null: all. */
export type Watch = string[] | null;
const MOST_IN_URL = 40;

export interface FeedStatus {
  state: FeedState;
  /** When the server was last heard, in milliseconds since the epoch; null before the first word. */
  heardAt: number | null;
  retryAt: number | null;
}

export class Feed {
  status: FeedStatus = { state: "connecting", heardAt: null, retryAt: null };
  private socket: WebSocket | null = null;
  private attempt = 0;
  private retryTimer: number | undefined;
  private awaitingSnapshot = false;
  private openedAt = 0;
  /** The nodes whose details are wanted (null: all), and what this socket was told. */
  private wanted: Watch = [];
  private told: Watch = [];

  constructor(
    private readonly url: string,
    private readonly graph: Graph,
    private readonly onStatus: (status: FeedStatus) => void,
  ) {}

  /** Say of which nodes the details are wanted. */
  watchNodes(nodes: Watch): void {
    this.wanted = nodes === null ? null : [...nodes].sort();
    this.tell();
  }

  start(): void {
    this.connect();
    window.setInterval(() => this.watch(), 1000);
    window.addEventListener("online", () => this.reconnectNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.watch();
    });
  }

  reconnectNow(): void {
    this.attempt = 0;
    this.drop();
    this.connect();
  }

  private connect(): void {
    window.clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    const told = this.wanted !== null && this.wanted.length > MOST_IN_URL ? [] : this.wanted;
    const query = told === null ? "" : `?nodes=${told.map(encodeURIComponent).join()}`;
    const socket = new WebSocket(`${this.url}${query}`);
    this.told = told;
    this.socket = socket;
    this.awaitingSnapshot = true;
    this.openedAt = Date.now();
    this.set({ retryAt: null });
    socket.addEventListener("message", (event) => {
      if (this.socket === socket) this.receive(socket, String(event.data));
    });
    socket.addEventListener("close", () => {
      if (this.socket !== socket) return;
      this.lost();
    });
  }

  private receive(socket: WebSocket, data: string): void {
    const message = parse(data);
    if (!message) return;
    if (message.type === "snapshot") {
      this.awaitingSnapshot = false;
      this.attempt = 0;
      this.tell();
    }
    // After a resync was asked for, deltas that were already on their way are of no use.
    if (!this.awaitingSnapshot || message.type === "snapshot") {
      if (this.graph.apply(message) === "resync") {
        this.awaitingSnapshot = true;
        socket.send(JSON.stringify({ type: "resync" }));
      }
    }
    const state = this.awaitingSnapshot ? this.status.state : "live";
    this.set({ state, heardAt: Date.now(), retryAt: null });
  }

  private tell(): void {
    if (this.socket?.readyState !== WebSocket.OPEN || isSame(this.told, this.wanted)) return;
    this.told = this.wanted;
    this.socket.send(JSON.stringify({ type: "watch", nodes: this.wanted }));
  }

  private watch(): void {
    const lastSign = Math.max(this.status.heardAt ?? 0, this.openedAt);
    if (this.socket && Date.now() - lastSign > SILENCE_MS) {
      this.drop();
      this.lost();
    }
  }

  private lost(): void {
    this.socket = null;
    const wait = retryDelay(this.attempt, Math.random());
    this.attempt += 1;
    window.clearTimeout(this.retryTimer);
    this.retryTimer = window.setTimeout(() => this.connect(), wait);
    const state = this.status.heardAt === null ? "connecting" : "stale";
    this.set({ state, retryAt: Date.now() + wait });
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  private set(part: Partial<FeedStatus>): void {
    const before = this.status;
    this.status = { ...before, ...part };
    if (before.state !== this.status.state || before.retryAt !== this.status.retryAt) {
      this.onStatus(this.status);
    }
  }
}

function parse(data: string): ServerMessage | null {
  try {
    const message = JSON.parse(data) as ServerMessage;
    return message && typeof message === "object" && "type" in message ? message : null;
  } catch {
    return null;
  }
}

function isSame(a: Watch, b: Watch): boolean {
  return (
    a === b || (a !== null && b !== null && a.length === b.length && a.every((name, i) => name === b[i]))
  );
}
