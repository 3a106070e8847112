// Addresses and prefixes as numbers.

export interface Prefix {
  /** Of the address: 32 or 128. */
  bits: number;
  /** The first address. */
  value: bigint;
  length: number;
}

/** An address or a prefix; null where it is neither. */
export function parsePrefix(text: string): Prefix | null {
  const [addr = "", length] = text.split("/");
  const value = addr.includes(":") ? parse6(addr) : parse4(addr);
  if (value === null) return null;
  const bits = addr.includes(":") ? 128 : 32;
  const size = length === undefined ? bits : Number(length);
  if (!Number.isInteger(size) || size < 0 || size > bits) return null;
  return { bits, value, length: size };
}

/** Whether a prefix has an address of its own family. */
export function contains(prefix: Prefix, value: bigint): boolean {
  const rest = BigInt(prefix.bits - prefix.length);
  return prefix.value >> rest === value >> rest;
}

/** How many pods a range has addresses for: without its own, its broadcast's and the gateway's. */
export function usable(prefix: Prefix): number {
  return 2 ** (prefix.bits - prefix.length) - (prefix.bits === 32 ? 3 : 2);
}

function parse4(text: string): bigint | null {
  const parts = text.split(".");
  if (parts.length !== 4 || parts.some((part) => !/^\d{1,3}$/.test(part) || Number(part) > 255)) return null;
  return parts.reduce((sum, part) => sum * 256n + BigInt(part), 0n);
}

function parse6(text: string): bigint | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const groups = (part: string) => (part ? part.split(":") : []);
  const [head = [], tail = []] = halves.map(groups);
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const all = [...head, ...new Array<string>(halves.length === 2 ? missing : 0).fill("0"), ...tail];
  if (all.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return null;
  return all.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n);
}
