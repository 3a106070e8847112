// A problem as text or Markdown, to be pasted into a ticket. Pure: no DOM.

import type { Between, ProblemDetail } from "./api.js";
import type { Command, ProblemObj } from "./graph/model.js";
import { escaped, fenced, type TicketForm, utc } from "./markup.js";
import { harmTitle, plural, podsOf } from "./problems.js";

const MOST_ROWS = 10;

/** `failing` is the step at which its trace fails, in words; `url` leads to the problem. Times are UTC. */
export function ticket(
  problem: ProblemObj,
  detail: Pick<ProblemDetail, "between"> | null,
  failing: string | null,
  url: string,
  now: Date,
  form: TicketForm,
): string {
  const isMarkdown = form === "markdown";
  const plain = isMarkdown ? escaped : (text: string) => text;
  const title = (text: string) => (isMarkdown ? `## ${text}` : `${text}:`);
  const item = (name: string, text: string) =>
    isMarkdown ? `- **${name}:** ${plain(text)}` : `${name}: ${text}`;
  const facts = [
    item("Harm", `${harmTitle(problem)} (${problem.certainty})`),
    item("Began", beganText(problem)),
    (problem.until ?? problem.gone) ? item("Not found since", utc(problem.gone ?? problem.until ?? "")) : "",
    item("Where", whereText(problem)),
    item("Affects", affectsText(problem)),
    problem.unverified ? item("Not verified now", problem.unverified) : "",
    failing ? item("Fails at", failing) : "",
  ].filter(Boolean);
  const parts = [
    isMarkdown ? `# ${plain(problem.headline)}` : problem.headline,
    plain(problem.consequence),
    facts.join("\n"),
    ...commands(title("Check"), problem.check, isMarkdown),
    ...commands(title("Fix (not run by netviz)"), problem.fix, isMarkdown),
    ...between(title("Affected pairs"), detail?.between ?? [], isMarkdown),
    ...(problem.also.length > 0
      ? [[title("Would block it too"), ...problem.also.map((one) => `- ${plain(one)}`)].join("\n")]
      : []),
    `netviz, problem ${problem.id}, as of ${utc(now.toISOString())}: ${url}`,
  ];
  return `${parts.join("\n\n")}\n`;
}

function beganText(problem: ProblemObj): string {
  return problem.since === null ? `before ${utc(problem.found)}, when it was found` : utc(problem.since);
}

function whereText(problem: ProblemObj): string {
  const { node, netns, dev } = problem.where;
  return [node, netns, dev].filter(Boolean).join(", ");
}

function affectsText(problem: ProblemObj): string {
  const { pairs } = problem.affects;
  const pods = podsOf(problem);
  const parts = [
    pods > 0 ? plural(pods, "pod", "pods") : "",
    pairs > 0 ? plural(pairs, "pair of pods", "pairs of pods") : "",
  ];
  return parts.filter(Boolean).join(", ") || "no pod named";
}

export function commands(title: string, rows: Command[], isMarkdown: boolean): string[] {
  if (rows.length === 0) return [];
  const lines = rows.map((one) => `${one.command}    # on ${one.node}`);
  return [[title, ...(isMarkdown ? fenced(lines) : lines.map((line) => `  ${line}`))].join("\n")];
}

function between(title: string, rows: Between[], isMarkdown: boolean): string[] {
  if (rows.length === 0) return [];
  const shown = rows.slice(0, MOST_ROWS);
  const left = rows.length - shown.length;
  const lines = isMarkdown
    ? [
        "",
        "| From | To | Pairs |",
        "| --- | --- | ---: |",
        ...shown.map((one) => `| ${escaped(one.source)} | ${escaped(one.target)} | ${one.pairs} |`),
      ]
    : shown.map((one) => `  ${one.source} to ${one.target}: ${plural(one.pairs, "pair", "pairs")}`);
  const more = left > 0 ? [isMarkdown ? "" : null, `and ${left} more`].filter((one) => one !== null) : [];
  return [[title, ...lines, ...more].join("\n")];
}
