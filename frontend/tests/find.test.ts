import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AGAIN_MS, type Answer, Asking, TYPING_MS } from "../src/find/asking.js";
import { type Command, fitting, KeyTaker, keyNames } from "../src/find/commands.js";
import { type Found, grouped, hitRoute, type SearchHit, spoken } from "../src/find/hits.js";

const hit = (part: Partial<SearchHit>): SearchHit => ({
  type: "pod",
  key: "a:4:10:0",
  name: "shop/web",
  where: "a",
  node: "a",
  matched: null,
  how: "text",
  ...part,
});
const found = (hits: SearchHit[], part: Partial<Found> = {}): Found => ({
  hits,
  more: false,
  partial: false,
  ...part,
});

test("hits are grouped in the order of the best; what contains an address is a group of its own", () => {
  const answer = found([
    hit({ type: "link", name: "eth0" }),
    hit({ type: "host-pod" }),
    hit({ type: "pod" }),
    hit({ type: "route", name: "10.0.0.0/8", how: "contains" }),
    hit({ type: "link", name: "eth1" }),
  ]);
  expect(grouped(answer, " 10.1.2.3 ").map(({ title, hits }) => [title, hits.length])).toEqual([
    ["Links", 2],
    ["Pods", 2],
    ["Ranges that contain 10.1.2.3", 1],
  ]);
  expect(spoken(answer, "10.1.2.3")).toBe(
    "5 found: 2 in Links, 2 in Pods, 1 in Ranges that contain 10.1.2.3.",
  );
  expect(spoken(found([], { partial: true }), "x")).not.toContain("Nothing found.");
});

test("each hit leads to what it names", () => {
  expect(hitRoute(hit({}), "web")).toEqual({ page: "select", target: { type: "pod", key: "a:4:10:0" } });
  expect(hitRoute(hit({ type: "service", key: "shop/web" }), "web")).toEqual({
    page: "kube",
    kind: "services",
    id: "shop/web",
  });
  expect(hitRoute(hit({ type: "workload", key: "Deployment/shop/web" }), "web")).toMatchObject({
    kind: "workloads",
  });
  const route = hit({ type: "route", key: "10.0.0.0/8", name: "10.0.0.0/8" });
  expect(hitRoute(route, "10.0")).toMatchObject({
    target: { type: "node", name: "a" },
    tables: { tab: "routes", find: "10.0.0.0/8" },
  });
  expect(hitRoute({ ...route, how: "contains" }, "10.1.2.3")).toMatchObject({
    tables: { tab: "routes", find: "10.1.2.3" },
  });
  expect(hitRoute(hit({ type: "rule", name: "KUBE-SVC" }), "kube")).toMatchObject({
    tables: { tab: "nft", find: "KUBE-SVC" },
  });
  expect(hitRoute(hit({ type: "host-pod", key: "kube/proxy", node: null }), "proxy")).toEqual({
    page: "kube",
    kind: "namespaces",
    id: "kube",
  });
});

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("only the last of what was typed is asked, and an old answer that comes late isn't shown", async () => {
  const waiting = new Map<string, (answer: Found) => void>();
  const asked: string[] = [];
  const answers: Answer[] = [];
  const asking = new Asking(
    (text) => {
      asked.push(text);
      return new Promise((done) => waiting.set(text, done));
    },
    (answer) => answers.push(answer),
  );
  for (const text of ["w", "we", "web"]) asking.ask(text);
  await vi.advanceTimersByTimeAsync(TYPING_MS);
  expect(asked).toEqual(["web"]);
  asking.ask("web-1");
  await vi.advanceTimersByTimeAsync(TYPING_MS);
  waiting.get("web")?.(found([hit({})]));
  await vi.advanceTimersByTimeAsync(0);
  expect(answers.at(-1)).toEqual({ state: "asking", text: "web-1" });
  waiting.get("web-1")?.(found([]));
  await vi.advanceTimersByTimeAsync(0);
  expect(answers.at(-1)).toMatchObject({ state: "found", text: "web-1" });
});

test("a partial answer is asked for again until it is whole, a failed one when somebody wants it", async () => {
  const said = [found([], { partial: true }), found([hit({})])];
  let fails = false;
  let calls = 0;
  const answers: Answer[] = [];
  const asking = new Asking(
    () => {
      calls += 1;
      return fails ? Promise.reject(new Error("busy")) : Promise.resolve(said.shift() as Found);
    },
    (answer) => answers.push(answer),
  );
  asking.ask("web");
  await vi.advanceTimersByTimeAsync(TYPING_MS);
  await vi.advanceTimersByTimeAsync(AGAIN_MS);
  expect(answers.map(({ state }) => state)).toEqual(["asking", "found", "found"]);
  await vi.advanceTimersByTimeAsync(10 * AGAIN_MS);
  expect(calls).toBe(2);
  fails = true;
  asking.again();
  await vi.advanceTimersByTimeAsync(TYPING_MS);
  expect(answers.at(-1)).toMatchObject({ state: "failed", text: "web" });
  asking.ask(" ");
  expect(answers.at(-1)).toEqual({ state: "idle" });
});

const command = (id: string, title: string, keys?: string): Command => ({
  id,
  title,
  group: "Do",
  run: () => {},
  ...(keys ? { keys } : {}),
});
const COMMANDS = [
  command("map", "Go to the map", "g m"),
  command("trace", "Trace a packet", "t"),
  command("palette", "Commands", "ctrl k"),
  command("theme", "Change between light and dark"),
];
const press = (key: string, ctrlKey = false) => ({ key, ctrlKey, metaKey: false, altKey: false });

test("one key, two keys, or Ctrl with one are a command; in a field only the last", () => {
  const taker = new KeyTaker(() => COMMANDS);
  const id = (taken: ReturnType<KeyTaker["take"]>) => (taken && taken !== "begun" ? taken.id : taken);
  expect(id(taker.take(press("T"), false, 0))).toBe("trace");
  expect(id(taker.take(press("m"), false, 0))).toBeNull();
  expect(id(taker.take(press("g"), false, 0))).toBe("begun");
  expect(id(taker.take(press("m"), false, 100))).toBe("map");
  expect(id(taker.take(press("g"), false, 200))).toBe("begun");
  expect(id(taker.take(press("m"), false, 9000))).toBeNull();
  expect(id(taker.take(press("t"), true, 0))).toBeNull();
  expect(id(taker.take(press("k", true), true, 0))).toBe("palette");
  expect(id(taker.take(press("t", true), false, 0))).toBeNull();
});

test("a command is found by any of its words, those that begin so first", () => {
  expect(fitting(COMMANDS, "").length).toBe(4);
  expect(fitting(COMMANDS, "map go").map(({ id }) => id)).toEqual(["map"]);
  expect(fitting(COMMANDS, "t")[0]?.id).toBe("map");
  expect(fitting(COMMANDS, "tra").map(({ id }) => id)).toEqual(["trace"]);
  expect(fitting(COMMANDS, "nothing like it")).toEqual([]);
  expect(keyNames("ctrl k", true)).toEqual(["⌘", "K"]);
  expect(keyNames("g m", false)).toEqual(["G", "M"]);
});
