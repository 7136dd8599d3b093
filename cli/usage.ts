// `cairn df` and `cairn osd df`: how much is stored in each pool and on each OSD. The figures are
// those that the OSDs reported last.
import { formatSize } from "../common/units.js";
import type { OsdRow, PgRow } from "../proto/commands.js";
import type { PoolInfo } from "../proto/osd-map.js";
import { storableBytes } from "../proto/storable.js";
import { withMonitor } from "./connect.js";
import type { ClusterOptions } from "./options.js";
import { coloured, type Output, printResult, table } from "./output.js";

export interface PoolUsage {
  pool: string;
  id: number;
  pgs: number;
  /** what clients have stored */
  storedBytes: number;
  /** what all copies of it take */
  usedBytes: number;
  objects: number;
  /** of what the pool could hold */
  usedShare: number;
  /** what clients can still store, when nothing else grows */
  maxAvailBytes: number;
}

export interface ClusterUsage {
  raw: { sizeBytes: number; usedBytes: number; availBytes: number; usedShare: number };
  pools: PoolUsage[];
}

export interface OsdUsage {
  id: number;
  deviceClass: string;
  /** 0 to 1 */
  reweight: number;
  sizeBytes: number;
  /** undefined: it has not reported */
  usedBytes: number | undefined;
  availBytes: number | undefined;
  usedShare: number | undefined;
  /** its share beside the mean of all: 1 is as the others */
  variance: number | undefined;
  /** PGs of which it has a copy */
  pgs: number;
  up: boolean;
}

const sum = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0);
const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

/** @param fullRatio from here on an OSD takes no writes */
export function clusterUsage(
  pools: readonly PoolInfo[],
  pgs: readonly PgRow[],
  osds: readonly OsdRow[],
  fullRatio: number,
): ClusterUsage {
  const inOsds = osds.filter((osd) => osd.in);
  const sizeBytes = sum(inOsds.map((osd) => osd.sizeBytes));
  const usedBytes = sum(inOsds.map((osd) => osd.usedBytes ?? 0));
  const availBytes = Math.max(0, sizeBytes - usedBytes);
  return {
    raw: { sizeBytes, usedBytes, availBytes, usedShare: share(usedBytes, sizeBytes) },
    pools: pools.map((pool) => {
      const own = pgs.filter((pg) => pg.pool === pool.name);
      const storedBytes = sum(own.map(({ bytes }) => bytes));
      const maxAvailBytes = storableBytes(osds, pool.size, fullRatio);
      return {
        pool: pool.name,
        id: pool.id,
        pgs: pool.pgNum,
        storedBytes,
        usedBytes: sum(own.map(({ bytes, acting }) => bytes * acting.length)),
        objects: sum(own.map(({ objects }) => objects)),
        usedShare: share(storedBytes, storedBytes + maxAvailBytes),
        maxAvailBytes,
      };
    }),
  };
}

export function osdUsage(osds: readonly OsdRow[], pgs: readonly PgRow[]): OsdUsage[] {
  const known = osds.filter(({ usedBytes }) => usedBytes !== undefined);
  const mean = share(
    sum(known.map(({ usedBytes = 0 }) => usedBytes)),
    sum(known.map(({ sizeBytes }) => sizeBytes)),
  );
  return osds.map(({ id, deviceClass, sizeBytes, usedBytes, weight, up, ...osd }) => {
    const usedShare = usedBytes === undefined ? undefined : share(usedBytes, sizeBytes);
    return {
      id,
      deviceClass,
      reweight: osd.in ? weight : 0,
      sizeBytes,
      usedBytes,
      availBytes: usedBytes === undefined ? undefined : Math.max(0, sizeBytes - usedBytes),
      usedShare,
      variance: usedShare === undefined || mean === 0 ? undefined : usedShare / mean,
      pgs: pgs.filter(({ acting }) => acting.includes(id)).length,
      up,
    };
  });
}

export async function dfAction(flags: ClusterOptions): Promise<void> {
  const usage = await withMonitor(flags, async (monitor) => {
    const [{ pools }, { pgs }, { osds }, { config }] = await Promise.all([
      monitor.command("pool ls", {}),
      monitor.command("pg ls", {}),
      monitor.command("osd ls", {}),
      monitor.command("config ls", {}),
    ]);
    const { numberSetting } = await import("../proto/settings.js");
    return clusterUsage(pools, pgs, osds, numberSetting({ config }, "mon.full_ratio"));
  });
  printResult(flags, usage, () => usageText(usage));
}

const right = "right" as const;
const percent = (part: number): string => `${(part * 100).toFixed(2)} %`;

function usageText({ raw, pools }: ClusterUsage): Output {
  return [
    coloured("bold", "RAW STORAGE"),
    table(
      ["SIZE", "AVAIL", "USED", "%USED"].map((title) => ({ title, align: right })),
      [
        [
          formatSize(raw.sizeBytes),
          formatSize(raw.availBytes),
          formatSize(raw.usedBytes),
          percent(raw.usedShare),
        ],
      ],
    ),
    pools.length === 0 ? "" : `\n${coloured("bold", "POOLS")}`,
    table(
      [
        { title: "POOL" },
        ...["ID", "PGS", "STORED", "OBJECTS", "USED", "%USED", "MAX AVAIL"].map((title) => ({
          title,
          align: right,
        })),
      ],
      pools.map((pool) => [
        pool.pool,
        pool.id,
        pool.pgs,
        formatSize(pool.storedBytes),
        pool.objects,
        formatSize(pool.usedBytes),
        percent(pool.usedShare),
        formatSize(pool.maxAvailBytes),
      ]),
    ),
  ];
}

export async function osdDfAction(flags: ClusterOptions): Promise<void> {
  const rows = await withMonitor(flags, async (monitor) => {
    const [{ osds }, { pgs }] = await Promise.all([
      monitor.command("osd ls", {}),
      monitor.command("pg ls", {}),
    ]);
    return osdUsage(osds, pgs);
  });
  printResult(flags, rows, () =>
    table(
      [
        { title: "ID", align: right },
        { title: "CLASS" },
        ...["REWEIGHT", "SIZE", "USED", "AVAIL", "%USED", "VAR", "PGS"].map((title) => ({
          title,
          align: right,
        })),
        { title: "STATUS" },
      ],
      rows.map((osd) => [
        osd.id,
        osd.deviceClass,
        osd.reweight.toFixed(5),
        formatSize(osd.sizeBytes),
        osd.usedBytes === undefined ? "?" : formatSize(osd.usedBytes),
        osd.availBytes === undefined ? "?" : formatSize(osd.availBytes),
        osd.usedShare === undefined ? "?" : percent(osd.usedShare),
        osd.variance === undefined ? "?" : osd.variance.toFixed(2),
        osd.pgs,
        osd.up ? "up" : "down",
      ]),
    ),
  );
}
