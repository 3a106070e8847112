// Collectors that aren't there yet: who waits for an administrator, and who was approved and never came.

import type { Graph } from "./graph/store.js";

export interface Arrival {
  node: string | null;
  cluster: string | null;
  status: "enrolled" | "approved";
}

export interface Arrivals {
  waiting: number;
  absent: number;
  /** The first of each sort. */
  collectors: Arrival[];
}

export const NOBODY: Arrivals = { waiting: 0, absent: 0, collectors: [] };

export function subjectOf({ node, cluster }: Arrival): string {
  return node === null ? `the watcher of cluster ${cluster}` : `${node}’s collector`;
}

/** One line for all of them: what keeps them off the map; "" when nobody is missing. */
export function arrivalsText({ waiting, absent, collectors }: Arrivals): string {
  const [first] = collectors.filter((one) => (one.status === "enrolled") === waiting > 0);
  const who = first && subjectOf(first);
  const waits =
    waiting === 1 && who
      ? `${who} waits for approval`
      : waiting > 0
        ? `${waiting.toLocaleString("en")} collectors wait for approval`
        : "";
  const never =
    absent === 1 && who && waiting === 0
      ? `${who} hasn’t connected yet`
      : absent > 0
        ? `${absent.toLocaleString("en")} approved ${absent === 1 ? "has" : "have"} never connected`
        : "";
  return [waits, never].filter(Boolean).join(", ");
}

/** What approves one on the server. */
export function approveCommand({ node, cluster }: Arrival): string {
  const manage = ".venv/bin/python manage.py approve";
  return node === null ? `${manage} --watcher --cluster '${cluster}'` : `${manage} ${node}`;
}

/** Without those whose node is connected now: the list of who never came is some seconds old. */
export function stillAway(arrivals: Arrivals, graph: Graph): Arrivals {
  const here = ({ node, cluster, status }: Arrival) =>
    status === "approved" &&
    (node === null ? graph.clusters.get(cluster ?? "") : graph.nodes.get(node))?.connected === true;
  const collectors = arrivals.collectors.filter((one) => !here(one));
  return {
    ...arrivals,
    absent: arrivals.absent - (arrivals.collectors.length - collectors.length),
    collectors,
  };
}

const ASK_EVERY_MS = 30_000;
const ASK_SOON_MS = 5000;

/** Asks the server who isn't there yet, for as long as the page lives. */
export class ArrivalWatch {
  now = NOBODY;
  private readonly listeners: ((arrivals: Arrivals) => void)[] = [];

  constructor(
    private readonly graph: Graph,
    private readonly asking: () => Promise<Arrivals>,
  ) {
    void this.ask();
  }

  onChange(listener: (arrivals: Arrivals) => void): void {
    this.listeners.push(listener);
  }

  private async ask(): Promise<void> {
    if (!document.hidden) {
      // Where it isn't known now, nothing is said of it.
      const said = await this.asking().catch(() => NOBODY);
      this.now = stillAway(said, this.graph);
      for (const listener of this.listeners) listener(this.now);
    }
    const isMissing = this.now.waiting + this.now.absent > 0;
    window.setTimeout(() => void this.ask(), isMissing ? ASK_SOON_MS : ASK_EVERY_MS);
  }
}
