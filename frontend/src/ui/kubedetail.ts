// One service, workload or namespace, as a page.

import {
  endpointTone,
  type Kind,
  manners,
  type NamespaceDetail,
  type PolicyDetail,
  portText,
  readiness,
  readyText,
  type ServiceDetail,
  type ServiceSummary,
  type Talker,
  traceRef,
  type WorkloadDetail,
  type WorkloadSummary,
} from "../kube.js";
import { formatRoute, targetHref } from "../route.js";
import type { Context } from "./context.js";
import { h, icon } from "./dom.js";
import {
  head,
  joinedLinks,
  kubeLink,
  leftOff,
  mark,
  nodeLink,
  podLink,
  podTable,
  policyLink,
  section,
  table,
} from "./kubeparts.js";
import { matrixTable } from "./matrix.js";
import { count } from "./names.js";
import type { Narrow } from "./narrow.js";
import { policyBody } from "./policydetail.js";
import { programmingPart } from "./programming.js";
import type { Traffic } from "./traffic.js";

/** What lasts while the page of one object is drawn anew. */
export interface Lasting {
  narrow: Narrow;
  traffic: Traffic;
}

export function detailBody(context: Context, kind: Kind, detail: unknown, lasting: Lasting): HTMLElement {
  if (kind === "services") return serviceBody(context, detail as ServiceDetail, lasting);
  if (kind === "workloads") return workloadBody(context, detail as WorkloadDetail);
  if (kind === "policies") return policyBody(context, detail as PolicyDetail, lasting.narrow);
  return namespaceBody(context, detail as NamespaceDetail);
}

function serviceBody(context: Context, one: ServiceDetail, { narrow, traffic }: Lasting): HTMLElement {
  const selecting = [...one.policies.map((name) => `${one.namespace}/${name}`), ...one.cluster_policies];
  const full = `${one.namespace}/${one.name}`;
  const at = [...one.addrs, ...one.external];
  return h(
    "article",
    {},
    head(full, one.type, one.external_name ? null : traceButton(context, `svc/${full}`)),
    h(
      "p",
      { class: "facts" },
      ...spaced(
        at.map((addr) => h("code", {}, addr)),
        one.ports.map(portText),
      ),
    ),
    one.external_name
      ? h("p", {}, "An alias: DNS answers with a CNAME for ", h("code", {}, one.external_name), ".")
      : null,
    facts(manners(one)),
    one.selector ? labelList("Selects", one.selector) : null,
    h(
      "div",
      { class: selecting.length > 0 ? "kube-columns" : null },
      h(
        "div",
        {},
        one.external_name
          ? null
          : section(
              "Endpoints",
              one.endpoints === 0 ? "none" : readyText(one.ready, one.endpoints),
              endpointTable(context, one),
            ),
        one.external_name ? null : programmingPart(context, one),
        one.external_name ? null : talkersPart(one, traffic),
      ),
      selecting.length > 0
        ? section(
            "Who may reach its pods",
            "by the policies that select them",
            h("p", {}, "Selected by ", ...joinedLinks(selecting.map(policyLink))),
            narrow.part([one.may.in]),
            one.may.in ? matrixTable(one.may.in, "From") : null,
          )
        : null,
    ),
  );
}

function endpointTable(context: Context, one: ServiceDetail): HTMLElement | null {
  if (one.rows.length === 0) return null;
  const zones = one.rows.some((row) => row.zone);
  return table(
    ["", "Pod", "Address", "Node", ...(zones ? ["Zone"] : []), "State", "Connections"],
    one.rows.map((row, i) => [
      h("span", { class: "muted" }, String(i + 1)),
      podLink(row.pod ?? "no pod", row.netns),
      h("code", {}, row.addrs.join(", ")),
      nodeLink(context, row.node),
      ...(zones ? [row.zone ?? "–"] : []),
      mark(endpointTone(row.state), row.waits ? `${row.state} (${row.waits})` : row.state),
      String(row.conns),
    ]),
    "kube-endpoints",
  );
}

function talkersPart(one: ServiceDetail, traffic: Traffic): HTMLElement {
  const total = one.rows.reduce((sum, row) => sum + row.conns, 0);
  const beside =
    `${count(total, "connection", "connections")} known to the endpoints’ nodes` +
    (one.nodes_left_out ? `, ${count(one.nodes_left_out, "node", "nodes")} not counted` : "");
  const body =
    one.talkers.length === 0
      ? null
      : table(
          ["From", "Connections", "While you look", "Where"],
          one.talkers.map((talker) => [
            talkerLink(talker),
            String(talker.conns),
            traffic.countCell(talker.kind, talker.name),
            whereText(talker),
          ]),
          "kube-talkers",
        );
  return section("Who talks to its endpoints now", beside, body);
}

function talkerLink(talker: Talker): HTMLElement {
  const [namespace, name] = talker.name.split("/");
  if (name && traceRef(talker.kind, namespace as string, name)) {
    const href = formatRoute({ page: "kube", kind: "workloads", id: `${talker.kind}/${talker.name}` });
    return h("a", { href }, talker.name, h("span", { class: "muted" }, ` ${talker.kind}`));
  }
  if (talker.kind === "Node")
    return h("a", { href: targetHref({ type: "node", name: talker.name }) }, talker.name);
  return h("span", {}, talker.name, h("span", { class: "muted" }, ` ${talker.kind.toLowerCase()}`));
}

function whereText(talker: Talker): string {
  const nodes =
    talker.nodes.length > 3 ? count(talker.nodes.length, "node", "nodes") : talker.nodes.join(", ");
  return [talker.pods ? count(talker.pods, "pod", "pods") : "", nodes].filter(Boolean).join(", ");
}

function workloadBody(context: Context, one: WorkloadDetail): HTMLElement {
  const full = `${one.namespace}/${one.name}`;
  const ref = one.pods === 1 ? traceRef(one.kind, one.namespace, one.name) : "";
  return h(
    "article",
    {},
    head(full, one.kind, ref ? traceButton(context, ref) : null),
    one.services.length > 0
      ? h(
          "p",
          { class: "facts" },
          "Selected by ",
          h("span", {}, ...joinedLinks(one.services.map((name) => kubeLink("services", name)))),
        )
      : null,
    section(
      "Pods",
      `${readyText(one.ready, one.pods)}, on ${count(one.nodes, "node", "nodes")}`,
      podTable(context, one.rows),
    ),
    leftOff(one.left_off),
  );
}

function namespaceBody(context: Context, one: NamespaceDetail): HTMLElement {
  const selecting = [...one.policies.map((name) => `${one.name}/${name}`), ...one.cluster_policies];
  return h(
    "article",
    {},
    head(one.name, "Namespace", null),
    labelList("Labels", one.labels),
    section("Workloads", String(one.workloads.length), workloadTable(one.workloads)),
    section("Services", String(one.services.length), serviceTable(one.services)),
    selecting.length > 0
      ? section("Policies", String(selecting.length), h("p", {}, ...joinedLinks(selecting.map(policyLink))))
      : null,
    section("Pods", String(one.rows.length + one.left_off), podTable(context, one.rows)),
    leftOff(one.left_off),
  );
}

function workloadTable(rows: WorkloadSummary[]): HTMLElement | null {
  if (rows.length === 0) return null;
  return table(
    ["Workload", "Kind", "Pods"],
    rows.map((one) => [
      kubeLink("workloads", `${one.kind}/${one.namespace}/${one.name}`, one.name),
      one.kind,
      mark(readiness(one.ready, one.pods), readyText(one.ready, one.pods)),
    ]),
  );
}

function serviceTable(rows: ServiceSummary[]): HTMLElement | null {
  if (rows.length === 0) return null;
  return table(
    ["Service", "Type", "Address", "Endpoints"],
    rows.map((one) => [
      kubeLink("services", `${one.namespace}/${one.name}`, one.name),
      one.type,
      h("code", {}, one.external_name ?? one.addrs.join(", ")),
      one.external_name
        ? "–"
        : mark(readiness(one.ready, one.endpoints), readyText(one.ready, one.endpoints)),
    ]),
  );
}

function facts(lines: string[]): HTMLElement | null {
  return lines.length > 0 ? h("p", { class: "muted" }, lines.join("; ")) : null;
}

function labelList(title: string, labels: Record<string, string>): HTMLElement | null {
  const all = Object.entries(labels);
  if (all.length === 0) return null;
  return h(
    "p",
    { class: "labels" },
    h("span", { class: "muted" }, title),
    ...all.map(([key, value]) => h("code", {}, `${key}=${value}`)),
  );
}

function spaced(parts: HTMLElement[], texts: string[]): (HTMLElement | string)[] {
  return [...parts, ...texts.map((text) => h("span", {}, text))];
}

/** Compose a trace to this: who sends is chosen next. */
function traceButton(context: Context, to: string): HTMLElement | null {
  if (!context.mayTrace) return null;
  const href = formatRoute({ page: "compose", from: "", to });
  return h("a", { class: "button", href, "data-testid": "trace-to" }, icon("path"), "Trace to it");
}
