// The record of an image in the trash, in the directory of its pool or namespace. Pure.
import { type Static, Type } from "@sinclair/typebox";
import { Checker } from "../../common/schema.js";
import { encodeValue } from "../../proto/encoding.js";
import { valueMap } from "./omap-values.js";

const TrashRecordSchema = Type.Object(
  {
    /** that it had */
    name: Type.String({ minLength: 1, maxLength: 96 }),
    /** milliseconds since 1970 */
    deletedAt: Type.Integer({ minimum: 0 }),
    /** milliseconds since 1970: before, it goes by force only */
    deferUntil: Type.Integer({ minimum: 0 }),
  },
  { additionalProperties: false },
);
export type TrashRecord = Static<typeof TrashRecordSchema>;

const what = "trash entry of the image directory";
const checker = new Checker(TrashRecordSchema, what, "corrupt");

export const encodeTrash = ({ name, deletedAt, deferUntil }: TrashRecord): Uint8Array =>
  encodeValue({ name, deletedAt, deferUntil });

/** @throws corrupt */
export const decodeTrash = (bytes: Uint8Array): TrashRecord =>
  valueMap(bytes, checker, `a ${what}`);
