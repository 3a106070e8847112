import { expect, test } from "vitest";
import { isAmong, isFolded, isLookedUp, jumpOf, narrowed, sorted, toCsv } from "../src/tables.js";
import { short } from "../src/ui/chains.js";

const ROWS = [
  { dst: "10.0.10.0/24", dev: "eth0", metric: 0 },
  { dst: "10.0.2.0/24", dev: "", metric: 20 },
  { dst: "default", dev: "cni0", metric: null },
];

test("rows are sorted by their numbers, what is empty last either way", () => {
  const dsts = (column: string, descending: boolean) =>
    sorted(ROWS, { column, descending }).map((row) => row.dst);
  expect(dsts("dst", false)).toEqual(["10.0.2.0/24", "10.0.10.0/24", "default"]);
  expect(dsts("dst", true)).toEqual(["default", "10.0.10.0/24", "10.0.2.0/24"]);
  expect(dsts("dev", false).at(-1)).toBe("10.0.2.0/24");
  expect(dsts("dev", true).at(-1)).toBe("10.0.2.0/24");
  expect(sorted(ROWS, null)).toEqual(ROWS);
});

test("every word narrows, in any column", () => {
  expect(narrowed(ROWS, ["dst", "dev"], "10.0 ETH").map((row) => row.dst)).toEqual(["10.0.10.0/24"]);
  expect(narrowed(ROWS, ["dst"], "eth0")).toEqual([]);
  expect(narrowed(ROWS, ["dst"], " ")).toBe(ROWS);
});

test("CSV quotes what it must, and nothing in it is a formula", () => {
  const rows = [{ a: 'say "x", y', b: "=1+1", c: -5, d: null, e: [1, 2] }];
  expect(toCsv(rows, ["a", "b", "c", "d", "e"])).toBe('a,b,c,d,e\r\n"say ""x"", y",\'=1+1,-5,,"[1,2]"\r\n');
});

test("whole addresses and MACs are looked up, parts of them are not", () => {
  for (const whole of ["10.1.2.3", " fd00::1 ", "02:aa:00:00:00:01", "02-aa-00-00-00-01", "::1"])
    expect(isLookedUp(whole), whole).toBe(true);
  for (const part of ["10.1.2", "10.1.2.0/24", "eth0", "fd", "fd00:", "", "ab"])
    expect(isLookedUp(part), part).toBe(false);
});

test("a row is what the server named if all that it says is so", () => {
  const met = [{ dst: "10.0.2.0/24", metric: 20 }];
  expect(ROWS.map((row) => isAmong(row, met))).toEqual([false, true, false]);
});

test("what is seldom looked for is folded", () => {
  expect(isFolded({ table: "local", type: "local" })).toBe(true);
  expect(isFolded({ table: "main", type: "multicast" })).toBe(true);
  expect(isFolded({ table: "main", type: "unicast", dst: "fe80::/64" })).toBe(true);
  expect(isFolded({ table: "main", type: "unicast" })).toBe(false);
  expect(isFolded({ table: "main", type: "blackhole" })).toBe(false);
});

test("a rule's jump leads to a chain that is there", () => {
  const chains = new Set(["KUBE-SERVICES", "mark"]);
  for (const rule of ["ip daddr 10.0.0.1 jump KUBE-SERVICES", "-m comment --comment x -j KUBE-SERVICES"])
    expect(jumpOf(rule, chains)).toEqual({ chain: "KUBE-SERVICES", at: rule.indexOf("KUBE-SERVICES") });
  expect(jumpOf("-j MASQUERADE", chains)).toBeNull();
  expect(jumpOf("accept", chains)).toBeNull();
});

test("counters are written with three figures", () => {
  expect([0, 999, 1000, 12_345, 999_400, 999_600, 5e12].map(short)).toEqual([
    "0",
    "999",
    "1.00k",
    "12.3k",
    "999k",
    "1.00M",
    "5.00T",
  ]);
});
