// Rows as a table shows them: sorted, narrowed, and written out. Pure.

import { naturalCompare } from "./layout/natural.js";

export type Row = Record<string, unknown>;

export interface Sorting {
  column: string;
  descending: boolean;
}

export function cellText(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Rows that have every word in one of the columns. */
export function narrowed(rows: Row[], columns: string[], typed: string): Row[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    const text = columns.map((name) => cellText(row[name]).toLowerCase()).join("\n");
    return words.every((word) => text.includes(word));
  });
}

/** Addresses and names by their numbers; what is empty comes last either way. */
export function sorted(rows: Row[], by: Sorting | null): Row[] {
  if (!by) return rows;
  const sign = by.descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [one, other] = [cellText(a[by.column]), cellText(b[by.column])];
    if (one === "" || other === "") return Number(one === "") - Number(other === "");
    return sign * naturalCompare(one, other);
  });
}

/** As RFC 4180 has it: CRLF, quoted where needed. What a spreadsheet would run as a formula is made text. */
export function toCsv(rows: Row[], columns: string[]): string {
  const field = (text: string) => {
    const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  const lines = [columns, ...rows.map((row) => columns.map((name) => cellText(row[name])))];
  return `${lines.map((line) => line.map(field).join(",")).join("\r\n")}\r\n`;
}

/** Which rows the server says an address meets: by all that they say. */
export function isAmong(row: Row, met: Row[]): boolean {
  return met.some((one) => Object.entries(one).every(([name, value]) => row[name] === value));
}

const ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|[0-9a-f]*:[0-9a-f:.]+)$/i;
const MAC = /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i;

/** Whether what is typed is a whole address or MAC, so that the server can be asked what it meets. */
export function isLookedUp(typed: string): boolean {
  const text = typed.trim();
  return MAC.test(text) || (ADDRESS.test(text) && !/^[0-9a-f]{1,4}:?$/i.test(text));
}

/** Routes that one seldom looks for: those of the namespace's own addresses, of links' own ones, and of multicast. */
export function isFolded(route: Row): boolean {
  if (route.table === "local" || route.dst === "fe80::/64") return true;
  return ["local", "broadcast", "multicast", "anycast"].includes(String(route.type));
}

const JUMP = /(?:\b(?:jump|goto)|(?:^|\s)-[jg])\s+(?=(\S+))/;

/** The chain that a rule leads to, in the words of nft or of iptables, and where in the text its name begins. */
export function jumpOf(rule: string, chains: Set<string>): { chain: string; at: number } | null {
  const found = JUMP.exec(rule);
  const chain = found?.[1];
  return found && chain && chains.has(chain) ? { chain, at: found.index + found[0].length } : null;
}
