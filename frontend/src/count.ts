// Numbers with their nouns. Pure.

/** "1 pod", "3 pods". */
export function count(value: number, one: string, many: string): string {
  return `${value.toLocaleString("en")} ${value === 1 ? one : many}`;
}

/** One of what a check counts: "clusters" is "cluster", "entries" "entry", "addresses" "address". */
export function singular(unit: string): string {
  return unit
    .replace(/ies$/, "y")
    .replace(/(ss)es$/, "$1")
    .replace(/([^s])s$/, "$1");
}
