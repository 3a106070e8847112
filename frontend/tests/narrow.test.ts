import { expect, it } from "vitest";
import type { Matrix } from "../src/kube.js";
import { policyWords } from "../src/ui/answer.js";
import { lacking } from "../src/ui/narrow.js";

const WHOLE: Matrix = {
  ports: [null],
  policies: [],
  pods: 900,
  rows: [],
  left_off: 0,
  pods_left_off: 0,
  peers_left_off: 0,
};

it("says what a matrix leaves out, and nothing of a whole one", () => {
  expect(lacking(WHOLE)).toEqual([]);
  expect(lacking({ ...WHOLE, pods_left_off: 20, peers_left_off: 1400, left_off: 3 })).toEqual([
    "The matrix leaves out 20 of its 900 pods",
    "1,400 pods at the other end of flows",
    "3 rows",
  ]);
});

it("says of what policies say why that may be otherwise", () => {
  const policy = { allowed: true, sentence: "Allowed: it is so." };
  expect(policyWords(policy)).toBe("By policies: Allowed: it is so.");
  expect(policyWords({ ...policy, unsure: ["the API of cluster c1 isn’t watched"] })).toBe(
    "By policies: Allowed: it is so. Not sure: the API of cluster c1 isn’t watched.",
  );
});
