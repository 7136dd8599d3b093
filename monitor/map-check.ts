// What stands between a change and the map: a map that its readers would refuse is never made. It
// is encoded and read back here, as every OSD and client will read it.
import { StorageError, toStorageError } from "../common/errors.js";
import { maxMetaBytes } from "../proto/frame.js";
import { decodeMessageFromMonitor, encodeMessage, type Maps } from "../proto/messages.js";
import { checkHash, type MapChanges, makeIncremental, type OsdMap } from "../proto/osd-map.js";

/**
 * @param map the one being made, to which the changes come; its own hash needs not be valid
 * @throws invalid_argument when nobody could read the map, or the incremental, that would be made
 */
export function requireReadable(map: OsdMap, changes: MapChanges): void {
  const { incremental, map: next } = makeIncremental(
    { ...map, hash: map.previousHash },
    changes,
    map.modifiedAt,
  );
  try {
    const { full } = readBack({ kind: "maps", full: next, incrementals: [] });
    if (full !== undefined) checkHash(full);
    readBack({ kind: "maps", incrementals: [incremental] });
  } catch (thrown) {
    throw new StorageError(
      "invalid_argument",
      `the cluster map can't hold this: ${toStorageError(thrown).message}`,
      { cause: thrown },
    );
  }
}

function readBack(maps: Maps): Maps {
  const meta = encodeMessage(maps);
  if (meta.length > maxMetaBytes) {
    throw new StorageError("too_large", `it would have ${meta.length} bytes`);
  }
  return decodeMessageFromMonitor(meta) as Maps;
}
