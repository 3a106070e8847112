// What the Kubernetes API says of a node and of a pod, for the inspector.

import type { KubePodObj, NetnsObj, NodeObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { podState } from "../kube.js";
import { formatRoute } from "../route.js";
import { h } from "./dom.js";
import { mark } from "./kubeparts.js";
import { count } from "./names.js";

type Fact = [string, HTMLElement | string | null];

/** A pod's workload, state and labels; nothing where no API knows the pod. */
export function podFacts(pod: KubePodObj | undefined): Fact[] {
  if (!pod) return [];
  const labels = Object.entries(pod.labels);
  const { text, tone } = podState({ ...pod, zone: null });
  return [
    ["Workload", workloadLink(pod)],
    ["State", mark(tone, text)],
    [
      "Labels",
      labels.length > 0
        ? h(
            "span",
            { class: "values" },
            ...labels.map(([key, value]) => h("code", { class: "label" }, `${key}=${value}`)),
          )
        : null,
    ],
  ];
}

/** Whom a pod asks for names, by its resolv.conf. */
export function resolvFacts(ns: NetnsObj): Fact[] {
  if (!ns.pod) return [];
  const said = ns.resolv;
  if (!said) return [["DNS server", h("span", { class: "muted" }, "its resolv.conf isn’t known")]];
  const codes = (texts: string[]) => texts.map((text) => h("code", { class: "label" }, text));
  const asks = said.nameservers.length > 0 ? codes(said.nameservers) : ["no server"];
  return [
    ["DNS server", h("span", { class: "values", "data-testid": "resolv" }, ...asks)],
    ["Search", said.search.length > 0 ? h("span", { class: "values" }, ...codes(said.search)) : null],
    ["Options", said.options.length > 0 ? h("span", { class: "values" }, ...codes(said.options)) : null],
  ];
}

/** The Kubernetes namespace of a pod, as the beginning of a line: a link where the API knows the pod. */
export function namespaceOf(ns: NetnsObj, graph: Graph): (HTMLElement | string)[] {
  if (!ns.pod) return [];
  const { namespace } = ns.pod;
  if (!graph.podOf(ns.key)) return [`${namespace} · `];
  return [
    h("a", { href: formatRoute({ page: "kube", kind: "namespaces", id: namespace }) }, namespace),
    " · ",
  ];
}

function workloadLink(pod: KubePodObj): HTMLElement | null {
  if (!pod.workload) return null;
  const { kind, name } = pod.workload;
  const href = formatRoute({ page: "kube", kind: "workloads", id: `${kind}/${pod.namespace}/${name}` });
  return h("span", {}, h("a", { href }, name), h("span", { class: "muted" }, ` ${kind}`));
}

/** How a node is by the API. */
export function kubeNode(node: NodeObj): string | null {
  if (!node.kube) return null;
  const { ready, unschedulable, zone, pods } = node.kube;
  const state = ready === null ? "readiness not known" : ready ? "ready" : "not ready";
  return [
    state,
    unschedulable ? "takes no new pods" : "",
    zone ? `zone ${zone}` : "",
    count(pods, "pod", "pods"),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** The API's pods that have no namespace of their own on a node. */
export function hostPods(pods: KubePodObj[]): HTMLElement[] {
  if (pods.length === 0) return [];
  const item = (pod: KubePodObj) =>
    h(
      "li",
      {},
      h("span", { class: "ifname" }, `${pod.namespace}/${pod.name}`),
      h(
        "span",
        { class: "muted" },
        pod.host_network ? "in the node’s network" : "no namespace of it is shown",
      ),
      h("span", { class: "state" }, podState({ ...pod, zone: null }).text),
    );
  return [
    h("h3", {}, "Pods without a namespace of their own"),
    h("ul", { class: "links", "data-testid": "host-pods" }, ...pods.map(item)),
  ];
}
