import { expect, test } from "vitest";
import { headerRows } from "../src/trace/headers.js";
import type { Step } from "../src/trace/types.js";

const step = (more: Partial<Step>): Step =>
  ({
    packet: { src: "10.1.1.2", sport: 40000, dst: "10.1.2.3", dport: 80, proto: "tcp", ttl: 63, mark: 0 },
    diff: {},
    observed: null,
    ...more,
  }) as unknown as Step;

test("what changed stands beside what it was", () => {
  const rows = headerRows(step({ diff: { dst: ["10.96.0.1", "10.1.2.3"] } }));
  expect(rows.map((row) => row.name)).toEqual([
    ...["source", "source port", "destination", "destination port", "TTL"],
  ]);
  expect(rows[2]).toEqual({
    ...{ name: "destination", before: "10.96.0.1", after: "10.1.2.3", isChanged: true, seen: null },
  });
  expect(rows[0]?.isChanged).toBe(false);
});

test("what was seen is said where it differs", () => {
  const headers = { src: "10.1.1.2", ttl: 62 };
  const rows = headerRows(step({ observed: { headers } as unknown as Step["observed"] }));
  expect(rows.find((row) => row.name === "TTL")?.seen).toBe("62");
  expect(rows.find((row) => row.name === "source")?.seen).toBeNull();
});

test("an echo has no ports, and what else changed is listed", () => {
  const packet = { src: "a", dst: "b", proto: "icmp", sport: 7 } as Step["packet"];
  const rows = headerRows(step({ packet, diff: { encap: [[], ["vxlan"]] } }));
  expect(rows.map((row) => row.name)).toEqual(["source", "destination", "encap"]);
});
