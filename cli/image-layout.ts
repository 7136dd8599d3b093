// The options that say how a new image is laid out, as the image layer takes them.

import type { ImageFeature } from "../client/image/features.js";
import type { LayoutOptions } from "../client/index.js";

export interface LayoutFlags {
  objectSize?: number;
  order?: number;
  stripeUnit?: number;
  stripeCount?: number;
  /** as each option has them */
  imageFeature: ImageFeature[][];
  imageShared?: true;
  dataPool?: string;
}

/** What needs that one client at a time uses the image. */
const exclusiveFeatures: readonly string[] = ["exclusive-lock", "object-map", "fast-diff"];

/** Absent members have the image layer's defaults. */
export function layoutOf(flags: LayoutFlags): LayoutOptions {
  const { order, stripeUnit, stripeCount, dataPool } = flags;
  const objectBytes = flags.objectSize ?? (order === undefined ? undefined : 2 ** order);
  const features = featuresOf(flags);
  return {
    ...(objectBytes === undefined ? {} : { objectBytes }),
    ...(stripeUnit === undefined ? {} : { stripeUnitBytes: stripeUnit }),
    ...(stripeCount === undefined ? {} : { stripeCount }),
    ...(dataPool === undefined ? {} : { dataPool }),
    ...(features === undefined ? {} : { features }),
  };
}

function featuresOf({ imageFeature, imageShared }: LayoutFlags): ImageFeature[] | undefined {
  const given = imageFeature.flat();
  if (imageShared !== true) return given.length === 0 ? undefined : given;
  const chosen: ImageFeature[] = given.length === 0 ? ["layering", "deep-flatten"] : given;
  return chosen.filter((feature) => !exclusiveFeatures.includes(feature));
}
