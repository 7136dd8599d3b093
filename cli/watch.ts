// `cairn watch`: tells when an image changes; `cairn object-map ...`: says why nothing is to do.
import { nameOf, withImages } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { printResult } from "./output.js";
import { untilAborted, withAbortSignal } from "./signals.js";
import type { ImageAddress, ImageOrSnap } from "./spec.js";

export async function watchAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  await withAbortSignal((signal) =>
    withImages(flags, spec, async (images) => {
      const { id } = await images.info(spec.image);
      const say = (event: string, value: object) =>
        process.stdout.write(
          flags.format === "json"
            ? `${JSON.stringify({ event, ...value })}\n`
            : `${new Date().toISOString()} ${nameOf(spec)}: ${event} ${JSON.stringify(value)}\n`,
        );
      const reload = async () => {
        const header = await images.scope.header(id);
        const { sizeBytes, snapshots } = header;
        say("changed", { sizeBytes, snapshots: snapshots.map(({ name }) => name) });
      };
      const { ImageLock } = await import("../client/index.js");
      const target = { pool: images.poolId, dataPool: images.poolId, id, reload };
      const watch = await ImageLock.watching(images.lockPorts(), target);
      try {
        say("watching", { id });
        await untilAborted(signal);
      } finally {
        await watch.close();
      }
    }),
  );
}

/**
 * `cairn object-map check` or `rebuild`. What rbd keeps in object maps, the OSDs derive from their
 * snapshot sets: it cannot be wrong, so both have nothing to do.
 */
export const objectMapAction =
  (verb: "check" | "rebuild") =>
  async (spec: ImageOrSnap, flags: ClusterOptions): Promise<void> => {
    const { features } = await withImages(flags, spec, async (images) => {
      if (spec.snap !== undefined) await images.snapshots.find(spec.image, spec.snap);
      return images.info(spec.image);
    });
    const value = { ...spec, verb, invalid: false, features };
    printResult(flags, value, () =>
      verb === "check"
        ? `${nameOf(spec)}: nothing can be wrong: the OSDs know which objects there are`
        : `${nameOf(spec)}: nothing to rebuild: the OSDs know which objects there are`,
    );
  };
