// What is said of policies in words.

import type { PolicySummary } from "./kube.js";

/** What a policy restricts, in words. */
export function restrictsText(one: PolicySummary): string {
  const verb = one.tier ? "decides" : "restricts";
  const ways = one.restricts.map((way) => (way === "in" ? "what comes in" : "what goes out"));
  return ways.length > 0 ? `${verb} ${ways.join(" and ")}` : `${verb} nothing`;
}

/** The name of a policy in a row of others: of one for the whole cluster without its kind. */
export function policyName(key: string): string {
  return key.replace(/^[A-Z]\w*\//, "cluster/");
}

/** When a policy for the whole cluster is asked; "" of others. */
export function tierText(one: PolicySummary): string {
  if (!one.tier) return "";
  const at = one.priority === null ? "" : `, priority ${one.priority}`;
  return `${one.tier} tier${at}`;
}

/** What that means, in a sentence; "" of others. */
export function tierWords(one: PolicySummary): string {
  if (!one.tier) return "";
  const when =
    one.tier === "Admin"
      ? "It is asked before all NetworkPolicies"
      : "It is asked where no NetworkPolicy selects a pod";
  return `${when}; the first of its rules that fits decides, unless it passes on.`;
}
