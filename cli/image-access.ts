// What the verbs on images share: POOL/IMAGE as an argument, and the image layer over a client.

import { parseImageSpec } from "../client/image/image-spec.js";
import type { ClusterClient, Images } from "../client/index.js";
import { systemClock, systemRandom } from "../common/ports.js";
import { valueParser } from "./options.js";

/** Parses POOL/IMAGE. */
export const specValue = valueParser(parseImageSpec);

/** @throws not_found when there is no such pool */
export async function imagesOf(
  client: ClusterClient,
  pool: string,
): Promise<Images<ClusterClient["io"]>> {
  const { Images: Layer } = await import("../client/index.js");
  return new Layer(client, pool, { clock: systemClock, random: systemRandom });
}
