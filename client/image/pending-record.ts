// The record of an image that is being made or taken away, in the directory. Pure.
import { type Static, Type } from "@sinclair/typebox";
import { Checker } from "../../common/schema.js";
import { encodeValue } from "../../proto/encoding.js";
import { valueMap } from "./omap-values.js";
import { SnapRefSchema } from "./references.js";

export const pendingStates = ["creating", "importing", "removing"] as const;
export type PendingState = (typeof pendingStates)[number];

const PendingRecordSchema = Type.Object(
  {
    state: Type.Unsafe<PendingState>(Type.Union(pendingStates.map((state) => Type.Literal(state)))),
    /** that it will have, or had */
    name: Type.String({ maxLength: 96 }),
    /** milliseconds since 1970, renewed while somebody works on it */
    refreshedAt: Type.Integer({ minimum: 0 }),
    /** of a clone: the snapshot that counts it as a child, perhaps without a header of it */
    parent: Type.Optional(SnapRefSchema),
  },
  { additionalProperties: false },
);

/** An image that is being made or taken away; it has no name in the directory. */
export type PendingRecord = Static<typeof PendingRecordSchema>;

const what = "pending entry of the image directory";
const checker = new Checker(PendingRecordSchema, what, "corrupt");

export function encodePending({ state, name, refreshedAt, parent }: PendingRecord): Uint8Array {
  return encodeValue({ state, name, refreshedAt, parent });
}

/** @throws corrupt */
export function decodePending(bytes: Uint8Array): PendingRecord {
  return valueMap(bytes, checker, `a ${what}`);
}
