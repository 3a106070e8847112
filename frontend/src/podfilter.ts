// What is typed above the list of pods: words, and kind:value for what the Kubernetes API says of a pod.
//
//   web                   in the name, the namespace or an address
//   ns:shop               pods of a namespace
//   workload:web          pods of a workload of that name, or of namespace/name
//   label:app=web         pods with a label; label:app with any value of it
//   svc:shop/web          the endpoints of a service
//   node:node1, zone:a    pods on a node, or in a zone

import type { KubePodObj, NetnsObj, NodeObj } from "./graph/model.js";

const KEYS = {
  ns: "namespace",
  namespace: "namespace",
  workload: "workload",
  label: "label",
  svc: "service",
  service: "service",
  node: "node",
  zone: "zone",
} as const;
type Key = (typeof KEYS)[keyof typeof KEYS];

export interface Term {
  key: Key | "text";
  value: string;
}

/** What a filter looks at of one entry. */
export interface Listed {
  ns: NetnsObj | null;
  pod: KubePodObj | undefined;
  node: NodeObj | undefined;
}

export function parseFilter(text: string): Term[] {
  return text
    .trim()
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => {
      const [head = "", ...rest] = word.split(":");
      const key = KEYS[head.toLowerCase() as keyof typeof KEYS];
      return key && rest.length > 0
        ? { key, value: rest.join(":") }
        : { key: "text", value: word.toLowerCase() };
    });
}

/** Tell whether an entry fits all terms. `endpoints` has the pods of the services that are named. */
export function fits(terms: Term[], entry: Listed, endpoints: Map<string, Set<string>>): boolean {
  return terms.every((term) => holds(term, entry, endpoints));
}

function holds(
  { key, value }: Term,
  { ns, pod, node }: Listed,
  endpoints: Map<string, Set<string>>,
): boolean {
  const namespace = pod?.namespace ?? ns?.pod?.namespace;
  const name = pod?.name ?? ns?.pod?.name ?? ns?.name ?? "";
  switch (key) {
    case "namespace":
      return namespace === value;
    case "workload": {
      const made = pod?.workload?.name;
      return made !== undefined && (value === made || value === `${namespace}/${made}`);
    }
    case "label": {
      const [label = "", ...wanted] = value.split("=");
      const has = pod?.labels[label];
      return has !== undefined && (wanted.length === 0 || has === wanted.join("="));
    }
    case "service":
      return endpoints.get(value)?.has(`${namespace}/${name}`) ?? false;
    case "node":
      return node?.name === value;
    case "zone":
      return node?.kube?.zone === value;
    case "text": {
      const addrs = [...(ns?.addrs ?? []), ...(pod?.addrs ?? [])];
      return [`${namespace ?? ""}/${name}`, ...addrs].some((field) => field.toLowerCase().includes(value));
    }
  }
}
