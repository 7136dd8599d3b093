// What tests of clones begin with: an image `base` with a snapshot `s`, and ways to write, read and
// clone, object by object.
import type { DeviceHandle } from "../../native/binding.js";
import { Images } from "../image/images.js";
import type { LayoutOptions } from "../image/making.js";
import { FakeCluster } from "./fake-cluster.js";
import type { Content } from "./fake-data.js";

export const mebibyte = 2 ** 20;
export const objectBytes = 4 * mebibyte;
/** of `base`, which holds "base" everywhere */
export const sizeBytes = 16 * mebibyte;

export async function cloneWorld(layout: LayoutOptions = {}) {
  const cluster = new FakeCluster();
  const client = cluster.client();
  const { io, images } = client;
  const change = async (name: string, run: (device: DeviceHandle) => void | Promise<void>) => {
    const { handle } = await images.open(name);
    await run(handle);
    images.close(handle);
  };
  const write = (name: string, content: string, at = 0, lengthBytes = sizeBytes) =>
    change(name, (device) => io.fill(device, at, lengthBytes, content));
  const read = async (name: string, at = 0, from: Images = images): Promise<Content> => {
    const { handle } = await from.open(name, { readOnly: true });
    const content = io.contentAt(handle, at);
    from.close(handle);
    return content;
  };
  /** of each object */
  const readAll = async (name: string, snap?: string): Promise<Content[]> => {
    const of = snap === undefined ? { readOnly: true } : { snap };
    const { handle, info } = await images.open(name, of);
    const shown: Content[] = [];
    for (let at = 0; at < info.sizeBytes; at += info.objectBytes) {
      shown.push(io.contentAt(handle, at));
    }
    images.close(handle);
    return shown;
  };
  const clone = (name: string, of = "base@s", to = images, cloned: LayoutOptions = {}) => {
    const [image = "", snap = ""] = of.split("@");
    return images.clones.create(image, snap, { scope: to.scope, name }, cloned);
  };
  await images.create("base", sizeBytes, layout);
  await write("base", "base");
  await images.snapshots.create("base", "s");
  return { cluster, ...client, change, write, read, readAll, clone };
}

export type CloneWorld = Awaited<ReturnType<typeof cloneWorld>>;

/** The images of a namespace, by the same client. */
export function inNamespace({ images }: CloneWorld, namespace: string): Images {
  return new Images(images.scope.cluster, "rbd", images.scope.ports, namespace);
}
