// Who knows rbd finds its verbs: all of rbd's man page (Ceph, release Tentacle) and the other names
// that `rbd help` gives them are in the table, or are named as later work.
import { describe, expect, it } from "vitest";
import { families } from "./index.js";
import { laterVerbs } from "./later.js";

const rbdVerbs = [
  "bench, children, clone, copy, cp, create, deep copy, deep cp, diff, disk-usage, du, export",
  "export-diff, feature disable, feature enable, flatten, import, import-diff, info, list, ls",
  "config global get, config global list, config global ls, config global remove",
  "config global rm, config global set, config image get, config image list, config image ls",
  "config image remove, config image rm, config image set, config pool get, config pool list",
  "config pool ls, config pool remove, config pool rm, config pool set",
  "device attach, device detach, device list, device ls, device map, device unmap, map, unmap",
  "showmapped, encryption format",
  "group create, group image add, group image list, group image ls, group image remove",
  "group image rm, group info, group list, group ls, group remove, group rename, group rm",
  "group snap create, group snap info, group snap list, group snap ls, group snap remove",
  "group snap rename, group snap rm, group snap rollback",
  "image-meta get, image-meta list, image-meta ls, image-meta remove, image-meta rm",
  "image-meta set, journal client disconnect, journal export, journal import, journal info",
  "journal inspect, journal reset, journal status",
  "lock add, lock list, lock ls, lock remove, lock rm, merge-diff",
  "migration abort, migration commit, migration execute, migration prepare",
  "mirror image demote, mirror image disable, mirror image enable, mirror image promote",
  "mirror image resync, mirror image snapshot, mirror image status, mirror pool demote",
  "mirror pool disable, mirror pool enable, mirror pool info, mirror pool peer add",
  "mirror pool peer remove, mirror pool peer set, mirror pool promote, mirror pool status",
  "mirror snapshot schedule add, mirror snapshot schedule list",
  "mirror snapshot schedule remove, mirror snapshot schedule status",
  "mv, namespace create, namespace list, namespace ls, namespace remove, namespace rm",
  "object-map check, object-map rebuild, persistent-cache flush, persistent-cache invalidate",
  "pool init, pool stats, remove, rename, resize, rm",
  "snap add, snap create, snap limit clear, snap limit set, snap list, snap ls, snap protect",
  "snap purge, snap remove, snap rename, snap revert, snap rm, snap rollback, snap unprotect",
  "sparsify, status, trash list, trash ls, trash move, trash mv, trash purge, trash remove",
  "trash restore, trash rm, trash purge schedule add, trash purge schedule list",
  "trash purge schedule remove, trash purge schedule status, watch",
].flatMap((line) => line.split(", "));

/** Of these, the ones that answer "later work". */
const laterOfRbd = [
  "device, map, unmap, showmapped, encryption, journal",
  "mirror, persistent-cache",
].flatMap((line) => line.split(", "));

const all = families.flatMap(({ verbs }) => verbs);
const known = new Set(all.flatMap(({ name, aliases }) => [name, ...aliases]));
const isLater = (name: string) => laterOfRbd.some((words) => `${name} `.startsWith(`${words} `));

describe("the table of verbs", () => {
  it.each(rbdVerbs)("knows rbd %s", (name) => {
    expect(known.has(name)).toBe(!isLater(name) || laterOfRbd.includes(name));
  });

  it("names what is later work", () => {
    const named = laterVerbs.map(({ words }) => words).filter((words) => words !== "nbd");
    expect(named.sort()).toEqual([...laterOfRbd].sort());
  });

  it("names each verb once", () => {
    const names = all.flatMap(({ name, aliases }) => [name, ...aliases]);
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });

  it("gives examples that begin with the verb, or lead to it", () => {
    const bad = all.filter(
      ({ name, lenient, examples }) =>
        lenient !== true && !examples.some((line) => line.includes(`cairn ${name}`)),
    );
    expect(bad.map(({ name }) => name)).toEqual([]);
  });

  it("uses a short option for one thing in each verb", () => {
    for (const { name, options } of all) {
      const shorts = Object.values(options).flatMap(({ short }) => short ?? []);
      expect({ name, shorts: [...new Set(shorts)] }).toEqual({ name, shorts });
    }
  });
});
