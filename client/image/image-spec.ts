// What names and sizes of images may be. Pure.
import { StorageError } from "../../common/errors.js";
import { formatSize } from "../../common/units.js";
import type { OsdMap, PoolInfo } from "../../proto/osd-map.js";
import { blockBytes, maxImageBytes, sectorBytes } from "./header.js";

export interface ImageSpec {
  pool: string;
  image: string;
}

const maxNameBytes = 96;
const namePattern = /^[A-Za-z0-9_.-]+$/;

/** @throws invalid_argument */
export function checkImageName(name: string): void {
  if (namePattern.test(name) && name.length <= maxNameBytes) return;
  throw new StorageError("invalid_argument", `"${name}" is no image name`, {
    remedy: `Use letters, digits, "_", "-" and ".", at most ${maxNameBytes} of them.`,
  });
}

/** POOL/IMAGE. @throws invalid_argument */
export function parseImageSpec(text: string): ImageSpec {
  const [pool, image, ...more] = text.split("/");
  if (pool === undefined || pool === "" || image === undefined || more.length > 0) {
    throw new StorageError("invalid_argument", `"${text}" is not of the form POOL/IMAGE`, {
      remedy: "For example: rbd/disk1.",
    });
  }
  checkImageName(image);
  return { pool, image };
}

/** What the OSDs that are in can hold of a pool's data when they hold nothing else. */
export function poolCapacityBytes(map: OsdMap, pool: PoolInfo): number {
  const raw = map.osds.filter((osd) => osd.in).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return Math.floor(raw / pool.size);
}

/**
 * @param capacityBytes undefined: the image may be larger than its pool
 * @throws invalid_argument, out_of_range
 */
export function checkImageSize(sizeBytes: number, capacityBytes: number | undefined): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0) {
    throw new StorageError("invalid_argument", `an image of ${sizeBytes} bytes cannot be`, {
      remedy: "Give a size above 0, such as --size 4G.",
    });
  }
  if (sizeBytes % sectorBytes !== 0) {
    throw new StorageError(
      "invalid_argument",
      `${sizeBytes} bytes are not a multiple of ${sectorBytes}`,
      { remedy: `Image sizes are whole sectors of ${sectorBytes} bytes.` },
    );
  }
  if (sizeBytes > maxImageBytes) {
    const [size, most] = [formatSize(sizeBytes), formatSize(maxImageBytes)];
    throw new StorageError("out_of_range", `${size} is more than an image can have (${most})`);
  }
  if (capacityBytes !== undefined && sizeBytes > capacityBytes) {
    const [size, capacity] = [formatSize(sizeBytes), formatSize(capacityBytes)];
    throw new StorageError(
      "out_of_range",
      `${size} is beyond the capacity of the pool (${capacity})`,
      { remedy: "Choose a smaller size, add OSDs, or say --thin-overcommit if you mean it." },
    );
  }
}

/** @throws invalid_argument when a shrink to that size is not meant, or not possible */
export function checkShrink(sizeBytes: number, allowShrink: boolean): void {
  if (!allowShrink) {
    throw new StorageError("invalid_argument", "the image is larger than that", {
      remedy: "Say --allow-shrink if what lies behind the new size may be discarded.",
    });
  }
  if (sizeBytes % blockBytes === 0) return;
  // A discard gives back whole blocks; the rest of a partial one would come back at a later grow.
  throw new StorageError(
    "invalid_argument",
    `${sizeBytes} bytes are not a multiple of ${blockBytes}`,
    { remedy: `An image is shrunk to whole blocks of ${blockBytes} bytes.` },
  );
}
