// What texts for tickets are made of. Pure: no DOM.

export type TicketForm = "text" | "markdown";

/** What Markdown takes for its own, taken literally. */
export function escaped(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#|~]/g, "\\$&");
}

/** Lines between fences that none of them ends. */
export function fenced(lines: string[], language = ""): string[] {
  const fence = "`".repeat(Math.max(3, ...lines.map((line) => longestTicks(line) + 1)));
  return [`${fence}${language}`, ...lines, fence];
}

function longestTicks(text: string): number {
  return Math.max(0, ...(text.match(/`+/g) ?? []).map((one) => one.length));
}

export function utc(iso: string): string {
  return `${new Date(iso).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
