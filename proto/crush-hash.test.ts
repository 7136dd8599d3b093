// The hash against values that the native core gives (native/core/crush/hash.hh, which is tested
// against Ceph's crushtool).
import { expect, it } from "vitest";
import { crushHash2 } from "./crush-hash.js";

it.each([
  [0, 0, 430787817],
  [1, 2, 3079532188],
  [11, 3, 1393658976],
  [4294967295, 7, 2874985758],
  [123456, 654321, 746824388],
])("crushHash2(%d, %d)", (a, b, hash) => expect(crushHash2(a, b)).toBe(hash));
