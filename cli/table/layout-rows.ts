// The options of verbs that make an image: how it is laid out over objects.
import type { ImageFeature } from "../../client/image/features.js";
import { parseFeature } from "../../client/image/features.js";
import { countValue, powerOfTwoSize, sizeValue, valueParser } from "../options.js";
import { asIs, choice, flag, optional, repeated } from "./option-rows.js";

/** One or several: rbd takes them with commas between, too. */
export const featuresValue = valueParser((text): ImageFeature[] =>
  text.split(",").map(parseFeature),
);

export const layoutRows = {
  objectSize: optional("size", "of its objects: a power of two from 64K to 32M", powerOfTwoSize, {
    otherwiseText: "4M",
  }),
  order: optional("bits", "the same as a power of two: 22 is 4M", countValue(16, 25), {
    conflicts: "objectSize",
  }),
  stripeUnit: optional("size", "bytes that lie in one object before the next", sizeValue, {
    otherwiseText: "the object size",
  }),
  stripeCount: optional("n", "objects to stripe over before coming back", countValue(1, 1024), {
    otherwiseText: "1",
  }),
  imageFeature: repeated("feature", "the features, in place of the default ones", featuresValue, {
    completes: "feature",
  }),
  imageFormat: choice("format-id", "of rbd; there is one only", ["2"], "2"),
  imageShared: flag("for several writers at once: without the exclusive lock and what needs it"),
  dataPool: optional("pool", "the pool for the data", asIs, { completes: "pool" }),
} as const;
