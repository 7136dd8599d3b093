// An image with its backing files, opened: the top first. Names are resolved as QEMU does: relative
// to the folder of the file that names them.
import { dirname, isAbsolute, resolve } from "node:path";
import { Qcow2Image } from "./image.js";
import { type ImageFormat, probe } from "./probe.js";
import { openSnapshot } from "./snapshots.js";
import { type ByteSource, FileSource, type ImageFile, imageError } from "./source.js";

/** QEMU has no limit; a chain this long is a mistake. */
const maxChainLength = 256;

/** A file of a chain: qcow2 with its tables, or raw. */
export type Layer =
  | { format: "qcow2"; source: ByteSource; image: Qcow2Image; sizeBytes: number }
  | { format: "raw"; source: ByteSource; sizeBytes: number };

/** Opens a file of the chain by name. */
export type OpenFile = (path: string) => Promise<ImageFile>;

export class ImageChain {
  constructor(
    readonly layers: readonly Layer[],
    /** id of the top's internal snapshot that this is; undefined: the disk as it is */
    readonly snapshotId?: string,
  ) {}

  /** Of the disk that the chain describes. */
  get sizeBytes(): number {
    return this.layers[0]?.sizeBytes ?? 0;
  }

  /** The descriptors of the files, in the order that MapExtent.source counts. */
  get fds(): number[] {
    return this.layers.map(({ source }) => (isImageFile(source) ? source.fd : -1));
  }

  async close(): Promise<void> {
    for (const { source } of this.layers) await source.close();
  }

  /**
   * Opens an image and its backing files. Backing files are read with the rights of this process:
   * let users that you do not trust name no images here.
   * @param format undefined: found by content
   * @param snapshot id or name of an internal snapshot of the image, which is to be shown
   * @throws as probe(), Qcow2Image.open(); corrupt (a loop); unsupported_feature (a backing file
   *   that is no file, or of another format); not_found, naming the file
   */
  static async open(
    path: string,
    format?: ImageFormat,
    openFile: OpenFile = FileSource.open,
    snapshot?: string,
  ): Promise<ImageChain> {
    const layers: Layer[] = [];
    const seen = new Set<string>();
    let next: BackingReference | undefined = { path, format };
    try {
      while (next !== undefined) {
        const source: ImageFile = await openFile(next.path);
        // Pushed before it is read, so that it is closed when that fails.
        layers.push({ format: "raw", source, sizeBytes: source.sizeBytes });
        if (seen.has(source.realPath) || layers.length > maxChainLength) {
          throw imageError(path, "corrupt", `its backing files are a loop at ${source.realPath}`);
        }
        seen.add(source.realPath);
        const layer = await openLayer(source, next.format);
        layers[layers.length - 1] = layer;
        next = layer.format === "qcow2" ? backingReference(layer.image, source) : undefined;
      }
      return snapshot === undefined ? new ImageChain(layers) : await shownBy(layers, snapshot);
    } catch (error) {
      await new ImageChain(layers).close();
      throw error;
    }
  }
}

/** @throws as openSnapshot(); invalid_argument where there can be no snapshots */
async function shownBy(layers: readonly Layer[], snapshot: string): Promise<ImageChain> {
  const [top, ...below] = layers;
  if (top?.format !== "qcow2") {
    const what = "a raw file has no snapshots";
    throw imageError(top?.source ?? snapshot, "invalid_argument", what);
  }
  const { image, id } = await openSnapshot(top.image, snapshot);
  const shown: Layer = { ...top, image, sizeBytes: image.header.sizeBytes };
  return new ImageChain([shown, ...below], id);
}

function isImageFile(source: ByteSource): source is ImageFile {
  return "fd" in source;
}

interface BackingReference {
  path: string;
  format: ImageFormat | undefined;
}

async function openLayer(source: ByteSource, format: ImageFormat | undefined): Promise<Layer> {
  if ((format ?? (await probe(source))) === "raw") {
    return { format: "raw", source, sizeBytes: source.sizeBytes };
  }
  const image = await Qcow2Image.open(source);
  return { format: "qcow2", source, image, sizeBytes: image.header.sizeBytes };
}

function backingReference(image: Qcow2Image, source: ImageFile): BackingReference | undefined {
  const { backingFile: named, backingFormat } = image.header;
  if (named === undefined) return undefined;
  const refuse = (what: string) =>
    imageError(source, "unsupported_feature", what, "Flatten it with: qemu-img convert -O qcow2");
  if (backingFormat !== undefined && backingFormat !== "raw" && backingFormat !== "qcow2") {
    throw refuse(`its backing file has the format ${JSON.stringify(backingFormat)}`);
  }
  if (source.backingAt !== undefined) {
    const path = source.backingAt(named);
    if (path !== undefined) return { path, format: backingFormat };
    throw refuse(`its backing file is not on the same server: ${JSON.stringify(named)}`);
  }
  const file = named.startsWith("file:") ? named.slice("file:".length) : named;
  // "nbd://host/x" and "json:{...}" are protocols to QEMU. A colon behind a slash is a plain name.
  if (/^[a-zA-Z0-9+.-]+:/.test(file) || file.includes("\0")) {
    throw refuse(`its backing file is not a local file: ${JSON.stringify(named)}`);
  }
  const path = isAbsolute(file) ? file : resolve(dirname(source.realPath), file);
  return { path, format: backingFormat };
}
