// Places are stable: whatever comes or goes, nothing that stays moves.

import { expect, test } from "vitest";
import { makeCluster, makePod } from "../dev/cluster.js";
import type { Delta, LinkObj, NetnsObj } from "../src/graph/model.js";
import { type Change, Graph } from "../src/graph/store.js";
import { Layout } from "../src/layout/layout.js";
import { Slots } from "../src/layout/slots.js";

/** Numbers that look random and are the same each time (a linear congruential generator). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

class World {
  readonly graph = new Graph();
  readonly layout = new Layout(this.graph);
  private readonly everything: ReturnType<typeof makeCluster>;
  private readonly added = new Map<string, { ns: NetnsObj; links: LinkObj[] }>();
  private changes: Pick<Change, "nodes" | "details"> = { nodes: false, details: new Set() };
  private next = 1;

  constructor(
    readonly nodes: number,
    pods: number,
    present: number,
  ) {
    this.everything = makeCluster({ nodes, pods, rack: 7, vxlan: true });
    this.graph.onChange((change) => {
      this.changes.nodes ||= change.nodes;
      for (const name of change.details) this.changes.details.add(name);
    });
    const has = (name: string) => Number(name.slice(5)) <= present;
    this.graph.apply({ ...this.everything, ...this.part(has), revision: 0 });
    this.follow();
  }

  follow(): void {
    this.layout.update(this.changes, 0);
    this.changes = { nodes: false, details: new Set() };
  }

  /** Where everything is: each node, and each pod in its node. */
  places(): Map<string, string> {
    const found = new Map<string, string>();
    for (const cell of this.layout.scene.cells.values()) found.set(cell.name, `${cell.x},${cell.y}`);
    for (const box of this.layout.scene.boxes.values())
      for (const tile of box.tileByKey.values())
        found.set(tile.key, `${tile.x},${tile.y},${tile.w},${tile.h}`);
    return found;
  }

  addNode(name: string): void {
    this.apply({ upsert: this.part((one) => one === name) });
  }

  removeNode(name: string): void {
    const netns = [...this.graph.netnsOf(name)].map((ns) => ns.key);
    const links = netns.flatMap((key) => this.graph.linksOf(key).map((link) => link.key));
    this.apply({ remove: { nodes: [name], routes: [name], netns, links } });
  }

  /** The details of a node leave: nobody watches it any more. */
  unwatch(name: string): void {
    const netns = [...this.graph.netnsOf(name)].map((ns) => ns.key);
    const links = netns.flatMap((key) => this.graph.linksOf(key).map((link) => link.key));
    this.apply({ remove: { routes: [name], netns, links } });
  }

  watch(name: string): void {
    const { routes, netns, links } = this.part((one) => one === name);
    const extra = [...this.added.values()].filter(({ ns }) => ns.node === name);
    this.apply({
      upsert: {
        routes,
        netns: [...netns, ...extra.map(({ ns }) => ns)],
        links: [...links, ...extra.flatMap((one) => one.links)],
      },
    });
  }

  addPod(node: string): void {
    this.next += 1;
    const made = makePod(Number(node.slice(5)), 300 + this.next, 1000 + this.next, true);
    this.added.set(made.ns.key, made);
    this.apply({ upsert: { netns: [made.ns], links: made.links } });
  }

  removePod(key: string): void {
    this.added.delete(key);
    const links = this.graph.linksOf(key);
    const peers = links.flatMap((link) => (link.peer ? [link.peer] : []));
    this.apply({ remove: { netns: [key], links: [...links.map((link) => link.key), ...peers] } });
  }

  private apply(part: Partial<Delta>): void {
    const base = this.graph.revision;
    this.graph.apply({ type: "delta", base, revision: base + 1, upsert: {}, remove: {}, ...part });
  }

  private part(has: (node: string) => boolean) {
    const { nodes, routes, netns, links } = this.everything;
    return {
      nodes: nodes.filter((one) => has(one.name)),
      routes: routes.filter((one) => has(one.node)),
      netns: netns.filter((one) => has(one.node)),
      links: links.filter((one) => has(one.netns.slice(0, one.netns.indexOf(":")))),
    };
  }
}

test.each([1, 2])("over 1,000 random comings and goings nothing that stays moves (seed %i)", (seed) => {
  const random = randomFrom(seed);
  const world = new World(24, 4, 12);
  const pick = <T>(from: T[]): T | undefined => from[random(from.length)];
  const homes = new Map<string, string>();
  const moved: string[] = [];
  for (let i = 0; i < 1000; i += 1) {
    const { graph } = world;
    const before = world.places();
    const here = [...graph.nodes.keys()];
    const away = Array.from({ length: world.nodes }, (_, n) => `node-${n + 1}`).filter(
      (one) => !graph.nodes.has(one),
    );
    const node = pick(here) ?? "node-1";
    const pods = graph.netnsOf(node).filter((ns) => !ns.root);
    switch (random(10)) {
      case 0:
        if (away.length > 0) world.addNode(pick(away) ?? "");
        break;
      case 1:
        if (here.length > 2) world.removeNode(node);
        break;
      case 2:
        if (graph.rootOf(node)) world.unwatch(node);
        else world.watch(node);
        break;
      case 3:
      case 4:
      case 5:
        if (pods.length > 0) world.removePod(pick(pods)?.key ?? "");
        break;
      default:
        if (graph.rootOf(node)) world.addPod(node);
    }
    if (random(3) > 0) world.follow();
    const after = world.places();
    for (const [key, place] of before) {
      const now = after.get(key);
      if (now !== undefined && now !== place) moved.push(`${key} at step ${i}`);
    }
    // A pod that is drawn again, because its node is watched again, is where it was.
    for (const [key, place] of after) {
      if (homes.has(key) && graph.netns.has(key) && place !== homes.get(key)) moved.push(`${key} again`);
      if (key.includes(":")) homes.set(key, place);
    }
    for (const key of homes.keys()) {
      const owner = key.slice(0, key.indexOf(":"));
      if (!graph.nodes.has(owner) || (graph.rootOf(owner) && !graph.netns.has(key))) homes.delete(key);
    }
  }
  expect(moved).toEqual([]);
  const cells = [...world.layout.scene.cells.values()];
  expect(new Set(cells.map((cell) => `${cell.x},${cell.y}`)).size).toBe(cells.length);
});

test("a place that is free is taken again, and a node that comes back stands where it stood", () => {
  const world = new World(40, 2, 20);
  const home = world.places().get("node-5");
  world.removeNode("node-5");
  world.follow();
  world.addNode("node-5");
  world.follow();
  expect(world.places().get("node-5")).toBe(home);
  world.removeNode("node-5");
  world.follow();
  const bounds = world.layout.scene.bounds;
  world.addNode("node-25");
  world.follow();
  expect(world.layout.scene.bounds.w).toBeLessThanOrEqual(bounds.w);
});

test("the place of a pod that is gone is shown until the next takes it", () => {
  const world = new World(7, 3, 1);
  const box = () => world.layout.scene.boxes.get("node-1");
  const [first] = [...(box()?.tileByKey.keys() ?? [])];
  const place = box()?.tileByKey.get(first ?? "");
  world.removePod(first ?? "");
  world.follow();
  expect(box()?.ghosts).toHaveLength(1);
  expect(box()?.ghosts[0]).toMatchObject({ x: place?.x, y: place?.y });
  world.addPod("node-1");
  world.follow();
  expect(box()?.ghosts).toEqual([]);
  expect(
    [...(box()?.tileByKey.values() ?? [])].some((tile) => tile.x === place?.x && tile.y === place?.y),
  ).toBe(true);
});

test("pods for which there is no row are small tiles, and beyond these a number", () => {
  const world = new World(7, 2, 1);
  for (let i = 0; i < 80; i += 1) world.addPod("node-1");
  world.follow();
  const box = world.layout.scene.boxes.get("node-1");
  const small = [...(box?.tileByKey.values() ?? [])].filter((tile) => tile.isSmall);
  expect(small.length).toBeGreaterThan(0);
  expect((box?.tileByKey.size ?? 0) + (box?.morePods ?? 0)).toBe(82);
});

test("slots give the first free place, and take none from anybody", () => {
  const slots = new Slots();
  for (const [i, key] of ["a", "b", "c"].entries()) slots.put(key, i);
  expect(slots.firstFree(3)).toBeNull();
  expect(slots.free("b")).toBe(1);
  expect(slots.free("b")).toBeUndefined();
  expect(slots.firstFree(3)).toBe(1);
  slots.put("d", 1);
  expect([...slots.at]).toEqual(["a", "d", "c"]);
  expect(slots.count).toBe(3);
});
