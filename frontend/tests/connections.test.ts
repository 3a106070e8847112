import { expect, test } from "vitest";
import {
  type Connection,
  type Connections,
  grouped,
  headText,
  peerText,
  translatedText,
  uncomparedTexts,
} from "../src/trace/connections.js";

const connection = (more: Partial<Connection> = {}): Connection => ({
  ...{ proto: "tcp", side: "client", state: "established", socket: true, entry: null, trace: null },
  ...{ answered_by: null, seen_as: null, now: "same", why: null },
  from: { addr: "10.1.1.11:40000", name: "default/web" },
  to: { addr: "10.96.0.1:80", name: null, service: null },
  ...more,
});

const found = (connections: Connection[], more: Partial<Connections> = {}): Connections => ({
  ...{ connections, left_off: 0, otherwise: 0, missing: [], age_s: 1 },
  ...more,
});

test("the other end is called by what people know", () => {
  expect(peerText(connection())).toEqual({ name: "10.96.0.1:80", addr: null });
  const service = connection({ to: { addr: "10.96.0.1:80", name: null, service: "shop/cart" } });
  expect(peerText(service)).toEqual({ name: "service shop/cart", addr: "10.96.0.1:80" });
  expect(peerText(connection({ side: "server" }))).toEqual({ name: "default/web", addr: "10.1.1.11:40000" });
});

test("what translation made of it is said", () => {
  expect(translatedText(connection())).toBe("");
  const answered_by = { addr: "10.1.2.11:80", name: "shop/cart-1" };
  expect(translatedText(connection({ answered_by, seen_as: "10.1.1.1" }))).toBe(
    "answered by shop/cart-1, 10.1.2.11:80; seen there as 10.1.1.1",
  );
});

test("none is never said where something isn't known", () => {
  expect(headText(found([]))).toBe("None now.");
  expect(headText(found([], { missing: ["its sockets aren't all known"] }))).toBe("None known.");
  expect(headText(found([connection()]))).toBe("1 connection.");
  expect(headText(found([connection()], { left_off: 3, otherwise: 2 }))).toBe(
    "4 connections, of which 2 would be treated differently if begun now.",
  );
});

test("those that differ in the client's port alone stand together", () => {
  const other = connection({ from: { addr: "10.1.1.11:40001", name: "default/web" } });
  const moved = connection({ now: "otherwise", why: "it fails" });
  const groups = grouped([connection(), other, moved]);
  expect(groups.map((group) => group.all.length)).toEqual([2, 1]);
  const server = (addr: string) => connection({ side: "server", from: { addr, name: null } });
  expect(grouped([server("203.0.113.1:1"), server("203.0.113.1:2"), server("203.0.113.2:1")])).toHaveLength(
    2,
  );
});

test("what isn't compared is said once for each reason", () => {
  const closing = connection({ now: "unknown", why: "it is closing or closed" });
  expect(uncomparedTexts([closing, closing])).toEqual(["None is compared: it is closing or closed."]);
  expect(uncomparedTexts([closing, connection(), closing])).toEqual([
    "2 not compared: it is closing or closed.",
  ]);
  expect(uncomparedTexts([connection()])).toEqual([]);
});
