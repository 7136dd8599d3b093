// The blocklist: clients of which the OSDs carry nothing out any more, each until a time by the
// monitor's wall clock, so that entries outlive a restart of the monitor. Pure: plans changes.
import { StorageError } from "../../common/errors.js";
import type { BlocklistEntry, MapChanges, OsdMap } from "../../proto/osd-map.js";

/** Entries at most: each is in every map. */
export const maxBlocklistEntries = 10_000;

const entriesOf = (map: OsdMap): readonly BlocklistEntry[] => map.blocklist ?? [];

/**
 * Adds a client, or changes until when it is listed.
 * @throws too_large
 */
export function planBlocklistAdd(map: OsdMap, entry: BlocklistEntry): MapChanges {
  const others = entriesOf(map).filter(({ client }) => client !== entry.client);
  if (others.length >= maxBlocklistEntries) {
    throw new StorageError("too_large", `the blocklist has ${others.length} entries already`, {
      remedy: "Remove some with `cairn osd blocklist rm`.",
    });
  }
  const blocklist = [...others, entry].sort((a, b) => (a.client < b.client ? -1 : 1));
  return { blocklist };
}

/** @throws not_found */
export function planBlocklistRemove(map: OsdMap, client: string): MapChanges {
  const blocklist = entriesOf(map).filter((entry) => entry.client !== client);
  if (blocklist.length < entriesOf(map).length) return { blocklist };
  throw new StorageError("not_found", `client ${client} is not on the blocklist`, {
    remedy: "`cairn osd blocklist ls` shows the list.",
  });
}

/** What takes away the entries whose time is over; undefined: none. */
export function expireBlocklist(map: OsdMap, wallMs: number): MapChanges | undefined {
  const blocklist = entriesOf(map).filter(({ untilMs }) => untilMs > wallMs);
  return blocklist.length === entriesOf(map).length ? undefined : { blocklist };
}

/** When the next entry expires, by the wall clock; undefined: never. */
export function blocklistDeadlineMs(map: OsdMap): number | undefined {
  const times = entriesOf(map).map(({ untilMs }) => untilMs);
  return times.length === 0 ? undefined : Math.min(...times);
}
