// Answers the reads of peering (log, missing list, object list) from the native core.
import { type PgId, parsePgId } from "../../common/units.js";
import type { NativeOsd } from "../../native/index.js";
import {
  logPageEntries,
  objectPageNames,
  type PeeringBody,
  pageBytes,
} from "../../proto/peering.js";
import type { ReadRequest } from "../peering/state.js";

/** What this needs of the native core. */
export type PgReader = Pick<NativeOsd, "pgLog" | "pgHorizon" | "pgMissing" | "listObjects">;

/** The answer to a request. */
export async function readFor(request: ReadRequest, core: PgReader): Promise<PeeringBody> {
  const { pool, seed } = parsePgId(request.pgid as PgId);
  switch (request.kind) {
    case "getLog": {
      const found = await core.pgLog(pool, seed, request.after, logPageEntries + 1);
      const entries = bounded(found, logPageEntries, (entry) => entry.bytes.length);
      const more = entries.length < found.length;
      if (more) return { kind: "log", after: request.after, entries, more };
      const horizon = await core.pgHorizon(pool, seed);
      return { kind: "log", after: request.after, entries, more, horizon };
    }
    case "getMissing": {
      const all = (await core.pgMissing(pool, seed)).sort(([a], [b]) => byCodePoint(a, b));
      const found = all.filter(([name]) => request.after === null || name > request.after);
      const objects = bounded(found, objectPageNames, ([name]) => name.length);
      const more = objects.length < found.length;
      return { kind: "missing", after: request.after, objects, more };
    }
    case "listObjects": {
      const found = await core.listObjects(pool, seed, request.after, objectPageNames + 1);
      const objects = bounded(found, objectPageNames, ([name]) => name.length);
      return {
        kind: "objects",
        after: request.after,
        objects,
        more: objects.length < found.length,
      };
    }
  }
}

/** Code-unit order: `>` of getMissing's filter uses the same. */
function byCodePoint(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** As many items from the front as one message takes; at least one if there is any. */
function bounded<T>(items: T[], maxItems: number, bytesOf: (item: T) => number): T[] {
  let bytes = 0;
  let count = 0;
  for (const item of items) {
    bytes += bytesOf(item);
    if (count >= maxItems || (count > 0 && bytes > pageBytes)) break;
    count += 1;
  }
  return items.slice(0, count);
}
