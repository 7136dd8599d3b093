// With which OSDs the native core keeps links and heartbeats. Pure.
import type { Address } from "../../common/config.js";
import type { OsdMap } from "../../proto/osd-map.js";
import type { PgRecord } from "../map/pg-record.js";

/** A peer as the native core takes it. */
export interface Peer {
  osd: number;
  address: Address;
  incarnation: bigint;
}

/** Up to this many OSDs everybody watches everybody: failures are then seen by most. */
const watchAllUpTo = 32;

/**
 * The OSDs that are up and share a PG with this one, or were contacted; in a small cluster all.
 * @param contacted OSDs to which messages were sent
 */
export function peersOf(
  map: OsdMap,
  self: number,
  records: Iterable<PgRecord>,
  contacted: ReadonlySet<number>,
): Peer[] {
  const others = map.osds.filter(({ id, up }) => up && id !== self);
  const wanted = new Set(contacted);
  if (others.length > watchAllUpTo) {
    for (const { interval } of records) {
      for (const osd of [...interval.up, ...interval.acting]) wanted.add(osd);
    }
  }
  return others
    .filter(({ id }) => others.length <= watchAllUpTo || wanted.has(id))
    .map(({ id, address, incarnation }) => ({
      osd: id,
      address,
      incarnation: BigInt(incarnation),
    }));
}
