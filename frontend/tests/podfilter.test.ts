import { expect, test } from "vitest";
import type { KubePodObj, NetnsObj, NodeObj } from "../src/graph/model.js";
import {
  endpointTone,
  idOf,
  manners,
  podState,
  portText,
  readiness,
  type ServiceDetail,
  traceRef,
} from "../src/kube.js";
import { fits, type Listed, parseFilter } from "../src/podfilter.js";
import { kubernetesPart } from "../src/problems.js";
import { formatRoute, parseRoute } from "../src/route.js";

const pod = {
  key: "shop/web-7d9",
  node: "node1",
  netns: "node1:4:1:0",
  namespace: "shop",
  name: "web-7d9",
  uid: "u",
  labels: { app: "web", tier: "" },
  workload: { kind: "Deployment", name: "web" },
  phase: "Running",
  ready: true,
  waits: "",
  deleting: false,
  host_network: false,
  addrs: ["10.1.2.3"],
} satisfies KubePodObj;
const ns = { addrs: ["10.1.2.3/24"], pod: { name: "web-7d9", namespace: "shop" }, name: "" } as NetnsObj;
const node = { name: "node1", kube: { ready: true, unschedulable: false, zone: "a", pods: 1 } } as NodeObj;
const entry: Listed = { ns, pod, node };
const endpoints = new Map([["shop/web", new Set(["shop/web-7d9"])]]);

test.each([
  ["", true],
  ["web", true],
  ["WEB shop", true],
  ["10.1.2", true],
  ["db", false],
  ["ns:shop", true],
  ["namespace:other", false],
  ["workload:web", true],
  ["workload:shop/web", true],
  ["workload:api", false],
  ["label:app=web", true],
  ["label:tier", true],
  ["label:tier=", true],
  ["label:app=api", false],
  ["label:no", false],
  ["svc:shop/web", true],
  ["svc:shop/api", false],
  ["node:node1 zone:a", true],
  ["node:node2", false],
  ["ns:shop label:app=api", false],
  ["fd00::1", false],
])("the filter %j", (text, wanted) => {
  expect(fits(parseFilter(text), entry, endpoints)).toBe(wanted);
});

test("what no API knows is filtered by its name and address alone", () => {
  const bare: Listed = { ns, pod: undefined, node };
  expect(fits(parseFilter("web ns:shop"), bare, endpoints)).toBe(true);
  expect(fits(parseFilter("label:app=web"), bare, endpoints)).toBe(false);
});

test("states have words of their own", () => {
  const row = { ...pod, zone: null };
  expect(podState(row)).toEqual({ text: "ready", tone: "ok" });
  expect(podState({ ...row, ready: false }).text).toBe("not ready");
  expect(podState({ ...row, ready: null })).toEqual({ text: "running", tone: "none" });
  expect(podState({ ...row, waits: "app: ImagePullBackOff" }).tone).toBe("bad");
  expect(podState({ ...row, phase: "Pending" })).toEqual({ text: "pending", tone: "warn" });
  expect(podState({ ...row, deleting: true }).text).toBe("terminating");
  expect([readiness(0, 0), readiness(0, 2), readiness(1, 2), readiness(2, 2)]).toEqual([
    "none",
    "bad",
    "warn",
    "ok",
  ]);
  expect([endpointTone("ready"), endpointTone("not ready"), endpointTone("terminating")]).toEqual([
    "ok",
    "bad",
    "warn",
  ]);
});

test("ports and manners in words", () => {
  const port = { port: 80, protocol: "TCP", name: "http", target: "web", node_port: 30080 };
  expect(portText(port)).toBe("80 TCP http to web, node port 30080");
  expect(portText({ ...port, name: null, target: "80", node_port: null })).toBe("80 TCP");
  const service = { affinity_s: 10800, internal_local: true, source_ranges: [] as string[] } as ServiceDetail;
  expect(manners(service)).toEqual([
    "session affinity for 180 min",
    "internal traffic to the node’s own endpoints only",
  ]);
});

test("every object has an address in the address bar", () => {
  for (const [kind, id] of [
    ["services", "shop/web"],
    ["workloads", "Deployment/shop/web"],
    ["namespaces", "shop"],
    ["services", null],
  ] as const) {
    const route = { page: "kube" as const, kind, id };
    expect(parseRoute(formatRoute(route))).toEqual(route);
  }
  expect(idOf("workloads", { kind: "Job", namespace: "a", name: "b", pods: 1, ready: 1, nodes: 1 })).toBe(
    "Job/a/b",
  );
  expect([traceRef("StatefulSet", "shop", "db"), traceRef("Pod", "shop", "db")]).toEqual(["sts/shop/db", ""]);
});

test("the strip says how the Kubernetes API is known", () => {
  const cluster = {
    name: "default",
    connected: true,
    complete: true,
    age_s: 0,
    gaps: [],
    counts: { pods: 3, services: 1 },
    health: "ok" as const,
    problem: null,
    collector: null,
  };
  expect(kubernetesPart([])).toBeNull();
  expect(kubernetesPart([cluster])).toEqual({
    tone: "plain",
    text: "Kubernetes API followed",
    beside: "1 service, 3 pods",
  });
  const away = { ...cluster, connected: false, health: "error" as const, problem: "its watcher is away" };
  expect(kubernetesPart([cluster, away])?.tone).toBe("bad");
});
