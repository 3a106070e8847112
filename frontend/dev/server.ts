// A stand-in for the server: the page, a feed and traces of a made-up cluster. For looking at the
// page during development; the real server needs none of this.
//
//   /?nodes=3&pods=5&rack=40&problems=6&troubled=1&vxlan=1&role=viewer&churn=1&fault=no-route&mute=1

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Plugin } from "vite";
import { type WebSocket, WebSocketServer } from "ws";
import type { Snapshot } from "../src/graph/model.js";
import type { TraceRequest, TraceRun } from "../src/trace/types.js";
import { makeCluster, makePod, podKey } from "./cluster.js";
import { problemDetail, putProblems } from "./problems.js";
import { type Fault, sampleTrace } from "./sampletrace.js";

interface Scenario {
  cluster: Snapshot;
  options: URLSearchParams;
}

let current: Scenario = scenario(new URLSearchParams());
const runs = new Map<string, TraceRun>();

function scenario(options: URLSearchParams): Scenario {
  const number = (name: string, otherwise: number) => Number(options.get(name) ?? otherwise);
  const cluster = makeCluster({
    nodes: number("nodes", 3),
    pods: number("pods", 5),
    troubled: options.has("troubled"),
    vxlan: options.has("vxlan"),
    ...(options.has("rack") ? { rack: number("rack", 40) } : {}),
  });
  if (options.has("problems")) putProblems(cluster, number("problems", 0));
  return { cluster, options };
}

function page(options: URLSearchParams): string {
  const role = options.get("role") ?? "operator";
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>netviz</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<script type="module" src="/src/main.ts"></script></head>
<body><div id="app" data-user="ada" data-role="${role.replace(/\W/g, "")}" data-csrf="dev"></div></body></html>`;
}

export function fakeServer(): Plugin {
  return {
    name: "netviz-fake-server",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        void answer(request, response, next, (url, html) => server.transformIndexHtml(url, html));
      });
      const sockets = new WebSocketServer({ noServer: true });
      server.httpServer?.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        const path = request.url ?? "";
        if (!path.startsWith("/ws/")) return;
        sockets.handleUpgrade(request, socket, head, (ws) =>
          path.startsWith("/ws/topology") ? feed(ws, watchedAtFirst(path)) : follow(ws, path),
        );
      });
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  next: () => void,
  transform: (url: string, html: string) => Promise<string>,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://localhost");
  const json = (status: number, body: unknown) => {
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(JSON.stringify(body));
  };
  if (url.pathname === "/") {
    current = scenario(url.searchParams);
    response.writeHead(200, { "Content-Type": "text/html" });
    response.end(await transform(url.pathname, page(url.searchParams)));
  } else if (url.pathname === "/api/traces" && request.method === "POST") {
    try {
      json(202, runs.get(startRun(JSON.parse(await body(request)) as TraceRequest)));
    } catch (error) {
      json(400, { error: (error as Error).message });
    }
  } else if (url.pathname === "/api/traces")
    json(
      200,
      [...runs.values()].reverse().map((run) => ({ ...run, trace: null })),
    );
  else if (url.pathname.startsWith("/api/traces/")) {
    const run = runs.get(url.pathname.slice("/api/traces/".length));
    json(run ? 200 : 404, run ?? { error: "There is no such trace." });
  } else if (url.pathname === "/api/problems") json(200, { version: 1, problems: [] });
  else if (url.pathname.startsWith("/api/problems/")) {
    const problem = current.cluster.problems.find((one) => one.id === url.pathname.split("/").pop());
    json(problem ? 200 : 404, problem ? problemDetail(problem, current.cluster) : { error: "gone" });
  } else if (url.pathname.startsWith("/api/netns/")) {
    json(200, detail(decodeURIComponent(url.pathname.slice("/api/netns/".length))));
  } else next();
}

async function body(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}

function startRun(request: TraceRequest): string {
  const id = String(runs.size + 1);
  const fault = (current.options.get("fault") ?? "none") as Fault;
  const trace = sampleTrace(current.cluster, request, fault);
  runs.set(id, {
    id,
    status: "done",
    error: null,
    created: "2026-01-01T03:00:00Z",
    user: "ada",
    request,
    trace,
  });
  return id;
}

function follow(ws: WebSocket, path: string): void {
  const run = runs.get(path.split("/").pop() ?? "");
  if (!run) {
    ws.close();
    return;
  }
  ws.send(JSON.stringify({ ...run, status: "running", trace: null }));
  setTimeout(() => ws.send(JSON.stringify(run)), 60);
}

type Watch = Set<string> | null;

function watchedAtFirst(path: string): Watch {
  const query = new URL(path, "http://localhost").searchParams.get("nodes");
  return query === null ? null : new Set(query.split(",").filter((name) => name));
}

/** The details of the nodes that are watched. */
function detailsOf(cluster: Snapshot, watch: Watch) {
  if (watch?.size === 0) return { routes: [], netns: [], links: [] };
  const has = (node: string) => watch === null || watch.has(node);
  return {
    routes: cluster.routes.filter((one) => has(one.node)),
    netns: cluster.netns.filter((one) => has(one.node)),
    links: cluster.links.filter((one) => has(one.netns.slice(0, one.netns.indexOf(":")))),
  };
}

function feed(ws: WebSocket, first: Watch): void {
  const { cluster, options } = current;
  let watch = first;
  const send = () => ws.send(JSON.stringify({ ...cluster, ...detailsOf(cluster, watch), revision }));
  let revision = cluster.revision;
  send();
  ws.on("message", (data) => {
    const wish = JSON.parse(String(data)) as { type: string; nodes?: string[] | null };
    if (wish.type !== "watch") {
      send();
      return;
    }
    const before = detailsOf(cluster, watch);
    watch = wish.nodes ? new Set(wish.nodes) : null;
    const upsert = detailsOf(cluster, watch);
    const kept = new Set([...upsert.netns, ...upsert.links].map((one) => one.key));
    const gone = (keys: string[]) => keys.filter((key) => !kept.has(key));
    const remove = {
      routes: before.routes.map((one) => one.node).filter((name) => watch && !watch.has(name)),
      netns: gone(before.netns.map((one) => one.key)),
      links: gone(before.links.map((one) => one.key)),
    };
    ws.send(JSON.stringify({ type: "delta", base: revision, revision: revision + 1, upsert, remove }));
    revision += 1;
  });
  if (options.has("mute")) {
    setTimeout(() => ws.terminate(), 700);
    return;
  }
  let turn = 0;
  const timer = setInterval(() => {
    if (!options.has("churn")) {
      ws.send(JSON.stringify({ type: "ping", revision }));
      return;
    }
    const node = (turn % cluster.nodes.length) + 1;
    const pod = 200 + (Math.floor(turn / 2) % 5);
    const { ns, links } = makePod(node, pod, 900 + node * 10 + pod, false);
    const isAdding = turn % 2 === 0;
    const keys = links.map((item) => item.key);
    const change = isAdding
      ? { upsert: { netns: [ns], links }, remove: {} }
      : {
          upsert: {},
          remove: { netns: [podKey(((turn - 1) % cluster.nodes.length) + 1, pod)], links: keys },
        };
    ws.send(JSON.stringify({ type: "delta", base: revision, revision: revision + 1, ...change }));
    revision += 1;
    turn += 1;
  }, 1000);
  ws.on("close", () => clearInterval(timer));
}

function detail(key: string): unknown {
  const { cluster } = current;
  const ns = cluster.netns.find((item) => item.key === key);
  const addr = ns?.addrs[0] ?? "";
  const net = addr.replace(/\.\d+\/24$/, ".");
  return {
    key,
    links: cluster.links
      .filter((item) => item.netns === key)
      .map((item) => ({
        ...item,
        counters: {
          rx_packets: 18231,
          tx_packets: 17344,
          rx_bytes: 2143553,
          tx_bytes: 1943210,
          rx_dropped: 0,
          tx_dropped: 0,
        },
        details: { "bridge.learning": "on" },
      })),
    routes: [
      {
        table: "main",
        dst: "default",
        type: "unicast",
        via: `${net}1`,
        dev: "eth0",
        metric: null,
        src: null,
        proto: "static",
        scope: "global",
      },
      {
        table: "main",
        dst: `${net}0/24`,
        type: "unicast",
        via: null,
        dev: "eth0",
        metric: null,
        src: addr.split("/")[0],
        proto: "kernel",
        scope: "link",
      },
    ],
    rules: [
      { priority: 0, text: "from all lookup local" },
      { priority: 32766, text: "from all lookup main" },
    ],
    neighs: [{ dst: `${net}1`, mac: "02:42:0a:f4:01:01", dev: "eth0", state: "REACHABLE" }],
    fdb: [],
    sockets: [
      { proto: "tcp", addr: "0.0.0.0", port: 8080, state: "LISTEN" },
      { proto: "udp", addr: "0.0.0.0", port: 5353, state: "UNCONN" },
    ],
    conntrack: {
      entries: 212,
      sample: [
        {
          proto: "tcp",
          orig: `${net}2:40122 > ${net}9:8080`,
          reply: `${net}9:8080 > ${net}2:40122`,
          status: "ASSURED",
        },
      ],
    },
    nft: [
      {
        family: "ip",
        table: "nat",
        chain: "postrouting",
        hook: "postrouting",
        priority: 100,
        policy: "accept",
        rules: ["ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade"],
      },
    ],
    sysctls: [
      { name: "net.ipv4.ip_forward", value: 1 },
      { name: "net.ipv4.conf.all.rp_filter", value: 0 },
    ],
  };
}
