// The image layer over a client, for the verbs on images.
import type { ClusterClient, Images } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { systemClock, systemRandom } from "../common/ports.js";
import type { ImageOrSnap } from "./spec.js";

interface Place {
  pool: string;
  /** "": none */
  namespace: string;
}

/** @throws not_found when there is no such pool */
export async function imagesOf(
  client: ClusterClient,
  { pool, namespace }: Place,
): Promise<Images<ClusterClient["io"]>> {
  if (namespace !== "") {
    throw new StorageError("invalid_argument", `there are no namespaces in the pool ${pool}`);
  }
  const { Images: Layer } = await import("../client/index.js");
  return new Layer(client, pool, { clock: systemClock, random: systemRandom });
}

/** "rbd/disk1", "rbd/team/disk1@monday" */
export function nameOf({ pool, namespace, image, snap }: ImageOrSnap): string {
  const path = namespace === "" ? `${pool}/${image}` : `${pool}/${namespace}/${image}`;
  return snap === undefined ? path : `${path}@${snap}`;
}
