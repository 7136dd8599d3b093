// What is known of the purges of a trash that were made by its schedule. Pure.
import { type Static, Type } from "@sinclair/typebox";
import { Checker } from "../../common/schema.js";
import { encodeValue } from "../../proto/encoding.js";
import { valueMap } from "./omap-values.js";

/** Of a pool or namespace. */
export const purgeObject = (namespace: string): string =>
  namespace === "" ? "rbd_trash_purge" : `${namespace}/rbd_trash_purge`;
export const purgeRunKey = "run";

const moment = Type.Integer({ minimum: 0 });
const PurgeRunSchema = Type.Object(
  {
    /** all in milliseconds since 1970: when it was due */
    dueAt: moment,
    startedAt: moment,
    /** absent: it goes on, or was cut off */
    endedAt: Type.Optional(moment),
    removed: Type.Integer({ minimum: 0 }),
    /** images that had to stay: in use, with snapshots */
    kept: Type.Integer({ minimum: 0 }),
  },
  { additionalProperties: false },
);
export type PurgeRun = Static<typeof PurgeRunSchema>;

const what = "last purge of a trash";
const checker = new Checker(PurgeRunSchema, what, "corrupt");

export const encodePurgeRun = (run: PurgeRun): Uint8Array => encodeValue(run);

/** @throws corrupt */
export const decodePurgeRun = (bytes: Uint8Array): PurgeRun =>
  valueMap(bytes, checker, `the ${what}`);
