// Who recovers when.
import { expect, it } from "vitest";
import { pgId } from "../../common/units.js";
import { Reservations } from "./reservations.js";

const pgs = Array.from({ length: 5 }, (_, seed) => pgId(1, seed));
const [a, b, c, d] = pgs as [(typeof pgs)[0], (typeof pgs)[0], (typeof pgs)[0], (typeof pgs)[0]];

it("gives at most its slots, then the highest priority first, then in order of arrival", () => {
  const reservations = new Reservations(1);
  expect(reservations.request(a, 1)).toEqual([a]);
  expect(reservations.request(b, 1)).toEqual([]);
  expect(reservations.request(c, 2)).toEqual([]);
  expect(reservations.request(d, 1)).toEqual([]);
  expect(reservations.isWaiting(b)).toBe(true);
  expect(reservations.release(a)).toEqual([c]);
  expect(reservations.release(c)).toEqual([b]);
  expect(reservations.release(b)).toEqual([d]);
});

it("passes over a PG that may not recover, until it may", () => {
  const held = new Set([a]);
  const reservations = new Reservations(1, (pgid) => !held.has(pgid));
  expect(reservations.request(a, 9)).toEqual([]);
  expect(reservations.request(b, 1)).toEqual([b]);
  expect(reservations.release(b)).toEqual([]);
  expect(reservations.isWaiting(a)).toBe(true);
  held.clear();
  expect(reservations.grant()).toEqual([a]);
});

it("grants a PG once, and takes a waiting one off the queue", () => {
  const reservations = new Reservations(1);
  reservations.request(a, 1);
  expect(reservations.request(a, 2)).toEqual([]);
  reservations.request(b, 1);
  expect(reservations.release(b)).toEqual([]);
  expect(reservations.release(a)).toEqual([]);
  expect(reservations.request(b, 1)).toEqual([b]);
});
