// The options that an image, or a pool for all its images, can have: their names (rbd's), values,
// defaults. Pure.
import { StorageError } from "../../common/errors.js";
import { parseSize } from "../../common/units.js";
import type { QosLimits } from "../../native/binding.js";

interface Option {
  readonly description: string;
  /** the value that it has when nobody has set it */
  readonly fallback: string;
  readonly limit: keyof QosLimits;
}

const rate = (limit: keyof QosLimits, description: string): Option => ({
  description,
  fallback: "0",
  limit,
});

export const imageOptions = {
  rbd_qos_iops_limit: rate("iopsLimit", "requests a second; 0: no limit"),
  rbd_qos_bps_limit: rate("bytesPerSecondLimit", "bytes a second; 0: no limit"),
  rbd_qos_read_iops_limit: rate("readIopsLimit", "reads a second; 0: no limit"),
  rbd_qos_write_iops_limit: rate("writeIopsLimit", "writes a second; 0: no limit"),
  rbd_qos_read_bps_limit: rate("readBytesPerSecondLimit", "bytes read a second; 0: no limit"),
  rbd_qos_write_bps_limit: rate("writeBytesPerSecondLimit", "bytes written a second; 0: no limit"),
  rbd_qos_iops_burst: rate("iopsBurst", "requests at once after a pause; 0: the limit"),
  rbd_qos_bps_burst: rate("bytesPerSecondBurst", "bytes at once after a pause; 0: the limit"),
  rbd_qos_read_iops_burst: rate("readIopsBurst", "reads at once after a pause; 0: the limit"),
  rbd_qos_write_iops_burst: rate("writeIopsBurst", "writes at once after a pause; 0: the limit"),
  rbd_qos_read_bps_burst: rate("readBytesPerSecondBurst", "bytes read at once; 0: the limit"),
  rbd_qos_write_bps_burst: rate("writeBytesPerSecondBurst", "bytes written at once; 0: the limit"),
} as const satisfies Record<string, Option>;
export type ImageOption = keyof typeof imageOptions;
export const imageOptionNames = Object.keys(imageOptions) as readonly ImageOption[];

/** What is set, by name. */
export type ConfigValues = Partial<Record<ImageOption, string>>;

/** @throws invalid_argument */
export function parseOption(name: string): ImageOption {
  const found = imageOptionNames.find((option) => option === name);
  if (found !== undefined) return found;
  throw new StorageError("invalid_argument", `there is no option "${name}"`, {
    remedy: `Options are ${imageOptionNames.join(", ")}.`,
  });
}

/** The value as it is stored. @throws invalid_argument */
export function parseOptionValue(option: ImageOption, text: string): string {
  try {
    return String(parseSize(text));
  } catch {
    throw new StorageError("invalid_argument", `"${text}" is no value of ${option}`, {
      remedy: `It is the number of ${imageOptions[option].description}. K, M and G are understood.`,
    });
  }
}

/** The limits that the image's values and those of its pool come to. */
export function qosLimits(values: ConfigValues): QosLimits {
  const limits: QosLimits = {};
  for (const option of imageOptionNames) {
    const value = Number(values[option] ?? imageOptions[option].fallback);
    if (value > 0) limits[imageOptions[option].limit] = value;
  }
  return limits;
}
