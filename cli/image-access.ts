// The image layer over a client, for the verbs on images.
import type { ClusterClient, ImageInfo, Images } from "../client/index.js";
import { exitCodes } from "../common/errors.js";
import { systemClock, systemRandom } from "../common/ports.js";
import { withCluster } from "./connect.js";
import { plainError } from "./error-report.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { startProgress } from "./progress.js";
import type { SnapOrId } from "./spec.js";

export type ImageLayer = Images<ClusterClient["io"]>;

interface Place {
  pool: string;
  /** "": none */
  namespace: string;
}

/** @throws not_found when there is no such pool */
export async function imagesOf(
  client: ClusterClient,
  { pool, namespace }: Place,
): Promise<ImageLayer> {
  const { Images: Layer } = await import("../client/index.js");
  return new Layer(client, pool, { clock: systemClock, random: systemRandom }, namespace);
}

/** Runs a verb on the images of a pool or namespace. */
export function withImages<T>(
  flags: ClusterOptions,
  place: Place,
  run: (images: ImageLayer, client: ClusterClient) => Promise<T>,
): Promise<T> {
  return withCluster(flags, async (client) => run(await imagesOf(client, place), client));
}

type ToProgress = (done: number, total: number | undefined) => void;

/** withImages() with progress on standard error. */
export async function withImageProgress<T>(
  flags: ClusterOptions & ProgressOptions,
  doing: string,
  place: Place,
  run: (images: ImageLayer, progress: ToProgress, client: ClusterClient) => Promise<T>,
): Promise<T> {
  const report = startProgress(doing, flags.progress, "steps");
  try {
    return await withImages(flags, place, (images, client) => run(images, report.update, client));
  } finally {
    report.end();
  }
}

/** The images whose headers can be read; of the others it says why, and has the verb fail. */
export function readableImages(images: ImageLayer): Promise<ImageInfo[]> {
  return images.list((name, error) => {
    const { message, ...body } = error.toJSON();
    process.stderr.write(
      plainError({ ...body, message: `${images.scope.prefix}${name}: ${message}` }),
    );
    process.exitCode = exitCodes.failure;
  });
}

/** "rbd/disk1", "rbd/team/disk1@monday", "4 of rbd/disk1" */
export function nameOf({ pool, namespace, image, snap, snapId }: SnapOrId): string {
  const path = namespace === "" ? `${pool}/${image}` : `${pool}/${namespace}/${image}`;
  if (snapId !== undefined) return `${snapId} of ${path}`;
  return snap === undefined ? path : `${path}@${snap}`;
}
