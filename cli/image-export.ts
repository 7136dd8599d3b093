// `cairn export`: an image into a new raw file (sparse), or to standard output.
import type { ClusterClient, ImageInfo } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import { withCluster } from "./connect.js";
import { imagesOf, nameOf } from "./image-access.js";
import { toNewFile, withRoomRemedy } from "./new-file.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { type ProgressReport, startProgress } from "./progress.js";
import type { ImageOrSnap } from "./spec.js";

type Flags = ClusterOptions & ProgressOptions;

export interface ExportResult {
  file: string;
  sizeBytes: number;
}

const standardOutput = 1;

/** @throws not_found (image), already_exists (file), no_space, io_error... */
export async function exportFile(
  spec: ImageOrSnap,
  file: string,
  flags: Flags,
  signal: AbortSignal,
): Promise<ExportResult> {
  const progress = startProgress(`exporting ${nameOf(spec)}`, flags.progress);
  try {
    return await withCluster(flags, async (client) => {
      const images = await imagesOf(client, spec);
      const { openReader } = await import("../client/index.js");
      const { handle, info, close } = await openReader(images, spec.image, { snap: spec.snap });
      try {
        const copy = (fd: number, sparse: boolean) =>
          copyTo(client, handle, info, fd, sparse, progress, signal);
        if (file === "-") await copy(standardOutput, false);
        else await toNewFile(file, (output) => copy(output.fd, true));
        return { file, sizeBytes: info.sizeBytes };
      } finally {
        await close();
      }
    });
  } finally {
    progress.end();
  }
}

async function copyTo(
  client: ClusterClient,
  device: number,
  info: ImageInfo,
  fd: number,
  sparse: boolean,
  progress: ProgressReport,
  signal: AbortSignal,
): Promise<void> {
  const left =
    fd === standardOutput ? "what was written is not all of the image" : "no file is left";
  const stopped = () => new StorageError("canceled", `stopped before it was done; ${left}`);
  if (signal.aborted) throw stopped();
  // The job ends before the device and the file close, also when it is stopped.
  const cancel = () => client.io.cancelCopies();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    await client.io.exportTo(device, fd, sparse, (doneBytes) =>
      progress.update(doneBytes, info.sizeBytes),
    );
  } catch (thrown) {
    throw signal.aborted ? stopped() : withRoomRemedy(thrown);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
