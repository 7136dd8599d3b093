// What holds recovery back.
import { expect, it } from "vitest";
import { testMap, testOsd } from "../../proto/fixtures.js";
import type { MapFlag } from "../../proto/map-flags.js";
import type { FullState } from "../../proto/osd-map.js";
import { type RecoveryHold, recoveryHold } from "./recovery-gate.js";

const flagged = (...flags: MapFlag[]) => testMap(4, { flags });
const level = (osd: number, fullState: FullState) =>
  testMap(4, { osds: [0, 1, 2, 3].map((id) => testOsd(id, id === osd ? { fullState } : {})) });

const log = { interval: { acting: [0, 1, 2], size: 3 }, backfilling: [], wholeStrays: [] };
const backfill = { ...log, backfilling: [2] };
const rebalance = { ...backfill, wholeStrays: [3] };
const spareIsDown = testMap(4, {
  flags: ["norebalance"],
  osds: [0, 1, 2, 3].map((id) => testOsd(id, { up: id !== 3 })),
});

it.each<[string, Parameters<typeof recoveryHold>, RecoveryHold | undefined]>([
  ["nothing", [flagged(), backfill], undefined],
  ["norecover: recovery by log", [flagged("norecover"), log], "norecover"],
  ["norecover: backfill too", [flagged("norecover"), backfill], "norecover"],
  ["nobackfill: not recovery by log", [flagged("nobackfill"), log], undefined],
  ["nobackfill: backfill", [flagged("nobackfill"), backfill], "nobackfill"],
  ["norebalance: not what is degraded", [flagged("norebalance"), backfill], undefined],
  ["norebalance: what only moves", [flagged("norebalance"), rebalance], "norebalance"],
  ["norebalance: not when the spare copy is down", [spareIsDown, rebalance], undefined],
  [
    "norebalance: not recovery by log",
    [flagged("norebalance"), { ...log, wholeStrays: [3] }],
    undefined,
  ],
  [
    "norebalance: not two of three copies",
    [flagged("norebalance"), { ...rebalance, backfilling: [1, 2] }],
    undefined,
  ],
  ["a nearfull target", [level(2, "nearfull"), backfill], undefined],
  ["a backfillfull target", [level(2, "backfillfull"), backfill], "backfill_toofull"],
  ["a backfillfull member, by log", [level(2, "backfillfull"), log], undefined],
  ["a full member, by log", [level(1, "full"), log], "recovery_toofull"],
  ["a full OSD that has no part in it", [level(3, "full"), backfill], undefined],
])("%s", (_, args, hold) => expect(recoveryHold(...args)).toBe(hold));
