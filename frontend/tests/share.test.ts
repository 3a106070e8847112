import { expect, test } from "vitest";
import { makeCluster } from "../dev/cluster.js";
import { sampleTrace } from "../dev/sampletrace.js";
import { SvgContext } from "../src/share/svgpen.js";
import { type Shared, traceMermaid, traceTicket } from "../src/share/tracetext.js";
import type { Trace } from "../src/trace/types.js";

const cluster = makeCluster({ nodes: 2, pods: 3 });
const name = (node: number) => {
  const ns = cluster.netns.find((one) => one.pod && one.node === `node-${node}`);
  return `${ns?.pod?.namespace}/${ns?.pod?.name}`;
};
const request = { from: name(1), to: name(2), proto: "tcp", dport: 80 };

function shared(fault: "none" | "no-route", change: (trace: Trace) => void = () => {}): Shared {
  const trace = sampleTrace(cluster, request, fault);
  change(trace);
  const run = { id: "7", created: "2026-11-30T14:00:00Z", request, current: true, current_note: null };
  return {
    run,
    trace,
    branch: 0,
    url: "https://netviz.example/#/trace/7",
    now: new Date("2026-11-30T14:09:00Z"),
  };
}

test("a trace as text has the answer, both directions, and how old what it read is", () => {
  const said = traceTicket(shared("none"), "text");
  for (const part of [
    "Forward: DELIVERED",
    "Return: DELIVERED",
    "Forward:\n",
    "Return:\n",
    "Computed from the state of",
  ])
    expect(said).toContain(part);
  expect(said).toContain("netviz, trace 7 of 2026-11-30 14:00:00 UTC, copied 2026-11-30 14:09:00 UTC");
  expect(said).not.toContain("up to date");
});

test("a trace that is no longer current says so, and one that fails says how to check it", () => {
  const { run, ...rest } = shared("no-route");
  const old = { ...rest, run: { ...run, current: false, current_note: "a route of node-1 has changed" } };
  const said = traceTicket(old, "text");
  expect(said).toContain("No longer up to date: a route of node-1 has changed");
  expect(said).toContain("Check:\n");
  const unknown = { ...rest, run: { ...run, current: null } };
  expect(traceTicket(unknown, "text")).toContain("Whether it is up to date is not known.");
});

test("in Markdown nothing of the cluster's is taken for markup", () => {
  const nasty = shared("none", (trace) => {
    const step = trace.branches[0]?.forward.hops[0]?.steps[0];
    if (step) Object.assign(step, { why: "a | b `c` <d>" });
  });
  const said = traceTicket(nasty, "markdown");
  expect(said).toContain("a \\| b \\`c\\` \\<d\\>");
  expect(said).toContain("| Where | Device | Step | Why |");
});

test("in Mermaid each hop is a box, forward solid and return dotted, and how it ends is a node", () => {
  const good = traceMermaid(shared("none").trace, 0);
  expect(good.startsWith("flowchart LR\n")).toBe(true);
  expect(good).toContain(`["${name(1)} on node-1"]`);
  expect(good).toMatch(/ n\d+ --> n\d+/);
  expect(good).toMatch(/ n\d+ -\.-> n\d+/);
  expect(good).not.toContain("DELIVERED");
  const bad = shared("no-route", (trace) => {
    const branch = trace.branches[0];
    if (branch) branch.reason = 'say "x" <y>';
  });
  expect(traceMermaid(bad.trace, 0)).toContain("#quot;x#quot; #lt;y#gt;");
});

test("what is drawn on the SVG pen is a document that is well formed", () => {
  const pen = new SvgContext((text) => text.length * 6);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, 10, 10);
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, 5, 5);
  pen.clip();
  pen.beginPath();
  pen.arc(5, 5, 2, 0, 2 * Math.PI);
  pen.globalAlpha = 0.5;
  pen.fill();
  pen.restore();
  pen.textAlign = "right";
  pen.font = '600 11px "A & B"';
  pen.fillText('<a> & "b"', 1.234, 2);
  const svg = pen.document(10, 10);
  expect(svg).toContain('<path d="M0,0h10v10h-10Z" fill="#fff"/>');
  expect(svg).toContain('opacity="0.5"');
  expect(svg).toContain('x="1.23"');
  expect(svg).toContain("&lt;a&gt; &amp; &quot;b&quot;");
  expect(svg).toContain("font:600 11px &quot;A &amp; B&quot;");
  expect(svg.match(/<g /g)?.length).toBe(svg.match(/<\/g>/g)?.length);
  expect(svg).not.toContain("NaN");
});
