// The features of an image: bits of its header, with the names and numbers that rbd gives them, and
// which of them may be switched when. Pure. docs/format/image.md says what each means here.
import { StorageError } from "../../common/errors.js";

export const featureBits = {
  layering: 1n,
  striping: 2n,
  "exclusive-lock": 4n,
  "object-map": 8n,
  "fast-diff": 16n,
  "deep-flatten": 32n,
  "data-pool": 128n,
  migrating: 512n,
} as const;
export type ImageFeature = keyof typeof featureBits;
export const imageFeatures = Object.keys(featureBits) as readonly ImageFeature[];

/** What a new image has unless it is told otherwise: rbd's default. */
export const defaultFeatures: readonly ImageFeature[] = [
  "layering",
  "exclusive-lock",
  "object-map",
  "fast-diff",
  "deep-flatten",
];
export const knownFeatures = Object.values(featureBits).reduce((all, bit) => all | bit, 0n);

/** feature -> the one without which it cannot be */
const needs: Partial<Record<ImageFeature, ImageFeature>> = {
  "object-map": "exclusive-lock",
  "fast-diff": "object-map",
};
/** Consequences of how the image was made, or is being moved; not to be chosen by name. */
const given: readonly ImageFeature[] = ["striping", "data-pool", "migrating"];

export function featureMask(features: readonly ImageFeature[]): bigint {
  return features.reduce((mask, feature) => mask | featureBits[feature], 0n);
}

export function featureNames(mask: bigint): ImageFeature[] {
  return imageFeatures.filter((feature) => hasFeature(mask, feature));
}

export function hasFeature(mask: bigint, feature: ImageFeature): boolean {
  return (mask & featureBits[feature]) !== 0n;
}

/** @throws invalid_argument */
export function parseFeature(text: string): ImageFeature {
  const feature = imageFeatures.find((name) => name === text);
  if (feature !== undefined) return feature;
  const later = ["journaling", "operations", "non-primary"].includes(text);
  throw new StorageError(
    "invalid_argument",
    later ? `the feature ${text} is not there yet` : `"${text}" is no feature`,
    { remedy: `Features are ${imageFeatures.join(", ")}.` },
  );
}

/** The mask of a new image. @throws invalid_argument */
export function newFeatures(
  features: readonly ImageFeature[],
  { striped, dataPool }: { striped: boolean; dataPool: boolean },
): bigint {
  const chosen = featureMask(features.filter((feature) => !given.includes(feature)));
  const mask =
    chosen | (striped ? featureBits.striping : 0n) | (dataPool ? featureBits["data-pool"] : 0n);
  checkNeeds(mask);
  return mask;
}

/** @throws invalid_argument */
export function enabledFeatures(mask: bigint, features: readonly ImageFeature[]): bigint {
  for (const feature of features) {
    if (hasFeature(mask, feature)) refuse(`${feature} is enabled already`);
    if (given.includes(feature)) refuse(`${feature} is decided when an image is made`);
    if (feature === "deep-flatten") refuse("deep-flatten can only be disabled");
  }
  const enabled = mask | featureMask(features);
  checkNeeds(enabled);
  return enabled;
}

/** @throws invalid_argument; busy */
export function disabledFeatures(
  mask: bigint,
  features: readonly ImageFeature[],
  image: { hasParent: boolean; hasChildren: boolean },
): bigint {
  for (const feature of features) {
    if (!hasFeature(mask, feature)) refuse(`${feature} is not enabled`);
    if (given.includes(feature)) refuse(`${feature} is decided when an image is made`);
  }
  if (features.includes("layering") && (image.hasParent || image.hasChildren)) {
    throw new StorageError("busy", "layering is in use: the image has a parent or children", {
      remedy: "Flatten the image and its clones first: `cairn flatten`.",
    });
  }
  const disabled = mask & ~featureMask(features);
  checkNeeds(disabled);
  return disabled;
}

function checkNeeds(mask: bigint): void {
  for (const feature of featureNames(mask)) {
    const needed = needs[feature];
    if (needed !== undefined && !hasFeature(mask, needed)) {
      refuse(`${feature} needs ${needed}`, "Name both, the one that depends on the other too.");
    }
  }
}

function refuse(message: string, remedy = "`cairn info` shows the features of an image."): never {
  throw new StorageError("invalid_argument", message, { remedy });
}
