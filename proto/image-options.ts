// The options of images by name, and how the map's config has those that hold for images of all
// pools: as ENTITY.OPTION. Pure.
import type { OsdMap } from "./osd-map.js";

export const imageOptionNames = [
  "rbd_qos_iops_limit",
  "rbd_qos_bps_limit",
  "rbd_qos_read_iops_limit",
  "rbd_qos_write_iops_limit",
  "rbd_qos_read_bps_limit",
  "rbd_qos_write_bps_limit",
  "rbd_qos_iops_burst",
  "rbd_qos_bps_burst",
  "rbd_qos_read_iops_burst",
  "rbd_qos_write_iops_burst",
  "rbd_qos_read_bps_burst",
  "rbd_qos_write_bps_burst",
  "cairn_qos_iops_reservation",
] as const;
export type ImageOption = (typeof imageOptionNames)[number];

/** Everybody, all clients, or those on the host NAME. */
const entity = /^(global|client|client\.[A-Za-z0-9][A-Za-z0-9._-]{0,63})$/;

export const isConfigEntity = (text: string): boolean => entity.test(text);

/** The setting of the map's config. */
export const globalOptionKey = (who: string, option: ImageOption): string => `${who}.${option}`;

/** Of a setting's name; undefined: it is none of an image option. */
export function globalOptionOf(key: string): { entity: string; option: ImageOption } | undefined {
  const option = imageOptionNames.find((name) => key.endsWith(`.${name}`));
  if (option === undefined) return undefined;
  const who = key.slice(0, -option.length - 1);
  return isConfigEntity(who) ? { entity: who, option } : undefined;
}

/** What holds on a host for images that have no value of their own: the most specific one. */
export function globalOptionValue(
  { config }: Pick<OsdMap, "config">,
  option: ImageOption,
  hostName: string,
): string | undefined {
  return [`client.${hostName}`, "client", "global"]
    .map((who) => config[globalOptionKey(who, option)])
    .find((value) => value !== undefined);
}
