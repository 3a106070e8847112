import { expect, test } from "vitest";
import { forwardShare, latencyText, positionText, stopFrom, stopsOf } from "../src/trace/playback.js";
import type { Branch, Hop, Observation, Step } from "../src/trace/types.js";

const step = (seq: number, at: number | null): Step =>
  ({ seq, observed: at === null ? null : { ts_ns: at } }) as unknown as Step;
const hop = (...steps: Step[]): Hop => ({ node: "n", netns: "k", pod: null, steps });

const branch = {
  forward: { hops: [hop(step(1, 100), step(2, null)), hop(step(3, 2_000_100))] },
  reply: { hops: [hop(step(4, 2_000_200))] },
} as unknown as Branch;

const observation = { sent_ns: 100, clock_uncertainty_ns: 0 } as Observation;

test("a trace is played forward, then its return, and stays within", () => {
  const stops = stopsOf(branch);
  expect(stops.map((stop) => [stop.direction, stop.seq])).toEqual([
    ["forward", 1],
    ["forward", 2],
    ["forward", 3],
    ["reply", 4],
  ]);
  expect(forwardShare(stops)).toBe(0.75);
  expect(stopFrom(stops, null, 1)?.seq).toBe(1);
  expect(stopFrom(stops, null, -1)?.seq).toBe(4);
  expect(stopFrom(stops, 3, 1)?.seq).toBe(4);
  expect(stopFrom(stops, 4, 1)?.seq).toBe(4);
  expect(stopFrom([], 4, 1)).toBeUndefined();
  expect(positionText(stops, 3)).toBe("Step 3 of 4");
  expect(positionText(stops, null)).toBe("4 steps");
});

test("no latency is told that the clocks don't bear", () => {
  const stops = stopsOf(branch);
  expect(latencyText(stops, 3, observation)).toBe("+2.00 ms, 2.00 ms after the last seen");
  expect(latencyText(stops, 1, observation)).toBe("+0.00 ms");
  expect(latencyText(stops, 2, observation)).toBe("");
  expect(latencyText(stops, 3, null)).toBe("");
  const apart = { ...observation, clock_uncertainty_ns: 50_000 };
  expect(latencyText(stops, 4, apart)).toBe("+2.00 ms ±0.05");
});
