// A client that runs verbs on images one after the other until it is killed, for
// image-kills.test.ts: `tsx image-verbs.ts PORT SEED`. Prints the verb that it begins.
import { ClusterClient, Image, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";

const [port = "0", seed = "1"] = process.argv.slice(2);
const mebibyte = 2 ** 20;
const ports = { clock: systemClock, random: systemRandom };
const cluster = await ClusterClient.connect({ monitor: { host: "127.0.0.1", port: Number(port) } });
const images = new Images(cluster, "rbd", ports);
let state = Number(seed);

function pick<T>(of: readonly T[]): T {
  state = (state * 1103515245 + 12345) % 2 ** 31;
  return of[Math.floor((state / 2 ** 31) * of.length)] as T;
}

const target = (name: string) => ({ scope: images.scope, name });
const name = () => pick(["a", "b", "c", "d"]);
const snap = () => pick(["s", "t"]);

const verbs: Record<string, () => Promise<unknown>> = {
  create: () => images.create(name(), 16 * mebibyte),
  createThick: () => images.create(name(), 16 * mebibyte, { thickProvision: true }),
  write: async () => {
    const image = await Image.open(cluster, ports, `rbd/${name()}`);
    await image.write(pick([0, 4, 8]) * mebibyte, new Uint8Array(65536).fill(1));
    await image.close();
  },
  snapCreate: () => images.snapshots.create(name(), snap()),
  snapRemove: () => images.snapshots.remove(name(), snap()),
  rollback: () => images.snapshots.rollback(name(), snap()),
  purge: () => images.snapshots.purge(name()),
  clone: () => images.clones.create(name(), snap(), target(name())),
  flatten: () => images.clones.flatten(name()),
  resize: () => images.resize(name(), pick([4, 8, 16]) * mebibyte, { allowShrink: true }),
  zeros: async () => {
    const image = await Image.open(cluster, ports, `rbd/${name()}`);
    await image.write(pick([0, 4, 8]) * mebibyte, new Uint8Array(mebibyte));
    await image.close();
  },
  sparsify: () => images.copies.sparsify(name()),
  copy: () => images.copies.deepCopy(name(), target(name())),
  rename: () => images.rename(name(), name()),
  remove: () => images.remove(name()),
  trash: () => images.trash.move(name()),
  trashPurge: () => images.trash.purge(),
  groupCreate: () => images.groups.create("g"),
  groupAdd: () => images.groups.addImage("g", target(name())),
  groupSnap: () => images.groups.snapshots.create("g", snap()),
  groupRollback: () => images.groups.snapshots.rollback("g", snap()),
  groupSnapRemove: () => images.groups.snapshots.remove("g", snap()),
  groupTakeOut: () => images.groups.removeImage("g", target(name())),
};

for (;;) {
  const verb = pick(Object.keys(verbs));
  console.log(verb);
  try {
    await verbs[verb]?.();
  } catch (thrown) {
    // What the state of things does not allow is refused; what must never be is the test's to see.
    const { code } = thrown as { code?: string };
    if (code === undefined || ["corrupt", "io_error", "protocol_error"].includes(code)) {
      console.error(`${verb}:`, thrown);
      process.exit(3);
    }
  }
}
