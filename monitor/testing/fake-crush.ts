// A CRUSH for tests of the monitor, without the native core: a text of its own, and highest random
// weight hashing over the OSDs that weigh something.
import { createHash } from "node:crypto";
import { StorageError } from "../../common/errors.js";
import type { OsdInfo } from "../../proto/osd-map.js";
import type { CrushPort } from "../crush-port.js";

interface FakeMap {
  failureDomain: string;
  osds: { id: number; host: string }[];
}

const parse = (text: string) => JSON.parse(text) as FakeMap;

function score(pool: number, seed: number, osd: number): string {
  return createHash("sha256").update(`${pool}.${seed}.${osd}`).digest("hex");
}

export const fakeCrush: CrushPort = {
  build(osds: readonly OsdInfo[], failureDomain) {
    if (osds.some(({ host }) => host === "default")) {
      throw new StorageError("invalid_argument", "a host cannot be named default");
    }
    return JSON.stringify({ failureDomain, osds: osds.map(({ id, host }) => ({ id, host })) });
  },
  rules: () => [{ id: 0, name: "replicated_rule" }],
  nodes(text) {
    const { osds } = parse(text);
    const hosts = [...new Set(osds.map(({ host }) => host))];
    return [
      { id: -1, name: "default", type: "root", depth: 0, weight: osds.length },
      ...hosts.flatMap((host, index) => {
        const inside = osds.filter((osd) => osd.host === host);
        return [
          { id: -2 - index, name: host, type: "host", depth: 1, weight: inside.length },
          ...inside.map(({ id }) => ({
            id,
            name: `osd.${id}`,
            type: "osd",
            depth: 2,
            weight: 1,
          })),
        ];
      }),
    ];
  },
  compile: (text) => new TextEncoder().encode(text),
  mapper: {
    mapPgs(_compiled, _rule, pool, pgNum, size, weights) {
      const result = new Int32Array(pgNum * size).fill(-1);
      const osds = [...weights.keys()].filter((id) => (weights[id] ?? 0) > 0);
      for (let seed = 0; seed < pgNum; seed += 1) {
        const best = osds
          .map((id) => ({ id, rank: score(pool, seed, id) }))
          .sort((a, b) => (a.rank < b.rank ? 1 : -1))
          .slice(0, size);
        best.forEach(({ id }, at) => {
          result[seed * size + at] = id;
        });
      }
      return result;
    },
  },
};
