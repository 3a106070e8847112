// A trace as text or Markdown, to be pasted into a ticket, and as a Mermaid diagram. Pure: no DOM.

import { escaped, fenced, type TicketForm, utc } from "../markup.js";
import { checksByNode, failedStep, flowText, hopTitle, kindLabel } from "../trace/format.js";
import type { Branch, Hop, Step, Trace, TraceRun } from "../trace/types.js";

export interface Shared {
  run: Pick<TraceRun, "id" | "created" | "request" | "current" | "current_note">;
  trace: Trace;
  branch: number;
  url: string;
  now: Date;
}

/** The answer, both directions step by step, how to check the step that decides, and how old what it read is. */
export function traceTicket({ run, trace, branch, url, now }: Shared, form: TicketForm): string {
  const isMarkdown = form === "markdown";
  const plain = isMarkdown ? escaped : (text: string) => text;
  const item = (name: string, text: string) =>
    isMarkdown ? `- **${name}:** ${plain(text)}` : `${name}: ${text}`;
  const shown = trace.branches[branch] ?? trace.branches[0];
  if (!shown) return "";
  const headline = trace.headline ?? `${run.request.from} to ${run.request.to}: ${trace.disposition}`;
  const others = trace.branches.length - 1;
  const facts = [
    item("Packet", flowText(trace)),
    item("From, to", `${run.request.from}, ${run.request.to}`),
    item("Forward", ending(shown.disposition, shown.reason)),
    item("Return", shown.reply ? ending(shown.reply.disposition, shown.reply.reason) : "none is sent"),
    item("Certainty", trace.certainty),
    ...(shown.choice ? [item("Of several paths", shown.choice)] : []),
    ...(others > 0 ? [item("Other paths", String(others))] : []),
    ...(trace.assumed ?? []).map((text) => item("Assumed", text)),
  ];
  const deciding = decidingStep(shown);
  const parts = [
    isMarkdown ? `# ${plain(headline)}` : headline,
    facts.join("\n"),
    ...direction("Forward", shown.forward.hops, isMarkdown),
    ...(shown.reply ? direction("Return", shown.reply.hops, isMarkdown) : []),
    ...(deciding ? checks(deciding, isMarkdown) : []),
    stateText(trace),
    currencyText(run),
    `netviz, trace ${run.id} of ${utc(run.created)}, copied ${utc(now.toISOString())}: ${url}`,
  ];
  return `${parts.filter(Boolean).join("\n\n")}\n`;
}

function ending(disposition: string, reason: string | null): string {
  return reason ? `${disposition} (${reason})` : disposition;
}

function decidingStep(branch: Branch): Step | null {
  return (
    failedStep(branch.forward.hops, branch.disposition) ??
    (branch.reply ? failedStep(branch.reply.hops, branch.reply.disposition) : null)
  );
}

function direction(title: string, hops: Hop[], isMarkdown: boolean): string[] {
  const rows = hops.flatMap((hop) => hop.steps.map((step) => ({ place: hopTitle(hop), step })));
  if (rows.length === 0) return [];
  if (!isMarkdown) {
    const lines = rows.map(({ place, step }) => `  ${place}${step.dev ? `, ${step.dev}` : ""}: ${step.why}`);
    return [[`${title}:`, ...lines].join("\n")];
  }
  const lines = rows.map(
    ({ place, step }) =>
      `| ${escaped(place)} | ${escaped(step.dev ?? "")} | ${escaped(kindLabel(step.kind))} | ${escaped(step.why)} |`,
  );
  return [
    [`## ${title}`, "", "| Where | Device | Step | Why |", "| --- | --- | --- | --- |", ...lines].join("\n"),
  ];
}

function checks(step: Step, isMarkdown: boolean): string[] {
  const lines = checksByNode(step).flatMap(([node, commands]) =>
    commands.map((one) => `${one}    # on ${node}`),
  );
  if (lines.length === 0) return [];
  const title = isMarkdown ? "## Check" : "Check:";
  return [[title, ...(isMarkdown ? fenced(lines) : lines.map((line) => `  ${line}`))].join("\n")];
}

function stateText(trace: Trace): string {
  const nodes = trace.state.map((one) => {
    if (one.not_understood !== undefined) return `${one.node} (not understood)`;
    return `${one.node} (${one.age_s.toFixed(1)} s old${one.complete ? "" : ", incomplete"}${one.stale ? ", stale" : ""})`;
  });
  return `Computed from the state of ${nodes.join(", ") || "no node"}.`;
}

function currencyText(run: Shared["run"]): string {
  if (run.current === false) return `No longer up to date: ${run.current_note ?? "what it read has changed"}`;
  return run.current === null || run.current === undefined ? "Whether it is up to date is not known." : "";
}

/** One branch as a Mermaid flowchart: a box for each hop, its devices in it, forward solid and return dotted. */
export function traceMermaid(trace: Trace, index: number): string {
  const branch = trace.branches[index] ?? trace.branches[0];
  if (!branch) return "flowchart LR\n";
  const ids = new Map<string, string>();
  const groups = new Map<string, string[]>();
  const edges: string[] = [];
  const place = (hop: Hop, dev: string) => {
    const key = `${hop.node} ${hop.netns} ${dev}`;
    const known = ids.get(key);
    if (known) return known;
    const id = `n${ids.size}`;
    ids.set(key, id);
    const title = hop.pod ? `${hopTitle(hop)} on ${hop.node}` : hop.node;
    groups.set(title, [...(groups.get(title) ?? []), `    ${id}["${quoted(dev)}"]`]);
    return id;
  };
  const walk = (hops: Hop[], arrow: string): string => {
    let last = "";
    for (const hop of hops) {
      const devs = hop.steps.map((step) => step.dev).filter((dev): dev is string => Boolean(dev));
      for (const dev of devs.length > 0 ? devs : ["-"]) {
        const id = place(hop, dev);
        if (last && last !== id) edges.push(`  ${last} ${arrow} ${id}`);
        last = id;
      }
    }
    return last;
  };
  const end = (from: string, arrow: string, disposition: string, reason: string | null) => {
    if (!from || disposition === "DELIVERED") return;
    const id = `e${edges.length}`;
    edges.push(`  ${from} ${arrow} ${id}(["${quoted(ending(disposition, reason))}"])`);
  };
  end(walk(branch.forward.hops, "-->"), "-->", branch.disposition, branch.reason);
  if (branch.reply)
    end(walk(branch.reply.hops, "-.->"), "-.->", branch.reply.disposition, branch.reply.reason);
  const boxes = [...groups].flatMap(([title, lines], i) => [
    `  subgraph g${i}["${quoted(title)}"]`,
    ...lines,
    "  end",
  ]);
  return `${["flowchart LR", ...boxes, ...new Set(edges)].join("\n")}\n`;
}

/** In Mermaid's strings a quotation mark is an entity, and so is what begins one. */
function quoted(text: string): string {
  return text.replace(/&/g, "#amp;").replace(/"/g, "#quot;").replace(/</g, "#lt;").replace(/>/g, "#gt;");
}
