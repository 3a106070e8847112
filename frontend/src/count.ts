// Numbers with their nouns. Pure.

const WHOLE = new Intl.NumberFormat("en");

/** "12,345". Made once: `toLocaleString` makes such a format with each number, which took most of a frame of 5,000 nodes. */
export function thousands(value: number): string {
  return WHOLE.format(value);
}

/** "1 pod", "3 pods". */
export function count(value: number, one: string, many: string): string {
  return `${thousands(value)} ${value === 1 ? one : many}`;
}

/** One of what a check counts: "clusters" is "cluster", "entries" "entry", "addresses" "address". */
export function singular(unit: string): string {
  return unit
    .replace(/ies$/, "y")
    .replace(/(ss)es$/, "$1")
    .replace(/([^s])s$/, "$1");
}
