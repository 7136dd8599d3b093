// The options that an image, or a pool for all its images, can have: their names (rbd's), values,
// defaults. Pure.
import { StorageError } from "../../common/errors.js";
import { parseSize } from "../../common/units.js";
import type { QosLimits } from "../../native/binding.js";
import { type ImageOption, imageOptionNames } from "../../proto/image-options.js";

interface Option {
  readonly description: string;
  /** the value that it has when nobody has set it */
  readonly fallback: string;
  readonly limit: keyof QosLimits;
  /** of the limit: what may go at once after a pause */
  readonly burst: boolean;
}

const rate = (limit: keyof QosLimits, what: string): Option => ({
  description: `${what} a second; 0: no limit`,
  fallback: "0",
  limit,
  burst: false,
});
const burst = (limit: keyof QosLimits, what: string): Option => ({
  description: `${what} at once after a pause; 0: a tenth of a second's`,
  fallback: "0",
  limit,
  burst: true,
});

export const imageOptions = {
  rbd_qos_iops_limit: rate("iops", "requests"),
  rbd_qos_bps_limit: rate("bytes", "bytes"),
  rbd_qos_read_iops_limit: rate("readIops", "reads"),
  rbd_qos_write_iops_limit: rate("writeIops", "writes"),
  rbd_qos_read_bps_limit: rate("readBytes", "bytes read"),
  rbd_qos_write_bps_limit: rate("writeBytes", "bytes written"),
  rbd_qos_iops_burst: burst("iops", "requests"),
  rbd_qos_bps_burst: burst("bytes", "bytes"),
  rbd_qos_read_iops_burst: burst("readIops", "reads"),
  rbd_qos_write_iops_burst: burst("writeIops", "writes"),
  rbd_qos_read_bps_burst: burst("readBytes", "bytes read"),
  rbd_qos_write_bps_burst: burst("writeBytes", "bytes written"),
  cairn_qos_iops_reservation: {
    description: "requests a second that OSDs keep free for it; 0: none",
    fallback: "0",
    limit: "reservation",
    burst: false,
  },
} as const satisfies Record<ImageOption, Option>;

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
  const numberOf = (option: ImageOption) => Number(values[option] ?? imageOptions[option].fallback);
  for (const option of imageOptionNames.filter((name) => !imageOptions[name].burst)) {
    const { limit } = imageOptions[option];
    const bursts = imageOptionNames.filter(
      (name) => imageOptions[name].burst && imageOptions[name].limit === limit,
    );
    const saved = bursts.map(numberOf).find((value) => value > 0);
    const perSecond = numberOf(option);
    if (perSecond > 0) limits[limit] = { perSecond, ...(saved && { burst: saved }) };
  }
  return limits;
}
