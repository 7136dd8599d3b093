// The verbs on images in use: `attach`, `lock add|ls|rm`, `watch`, `bench`.
import { InvalidArgumentError } from "commander";
import { defaultQueues, maxQueues } from "../../vhost-blk/export-server.js";
import { nbdValue } from "../nbd-target.js";
import { countValue, durationValue, sizeValue, watchTimeoutValue } from "../options.js";
import {
  asIs,
  choice,
  clusterRows,
  flag,
  optional,
  repeated,
  withDefault,
} from "../table/option-rows.js";
import { image, imageOrSnapshot, maybe, word } from "../table/slots.js";
import { type Family, verb } from "../table/verb.js";

const attach = verb({
  name: "attach",
  summary: "Serve an image to a virtual machine (vhost-user) or to an NBD client.",
  details: [
    "Stays in the foreground, prints one line when it is ready; SIGINT or SIGTERM answers what " +
      "is in flight, removes the socket and ends it; a second one ends it at once, such as when " +
      "the cluster does not answer. Sockets have mode 0600; one whose process has died is taken " +
      "over. QEMU's num-queues must not be above --queues.",
    "The image's exclusive lock is taken when a guest or NBD client begins to use it, and handed " +
      "over when another attach asks for it; a read-only attach takes none.",
  ],
  slots: [maybe(imageOrSnapshot("the image, or a snapshot of it, which is read-only"))],
  options: {
    vhostUser: optional("socket", "path of the vhost-user-blk socket", asIs, {
      completes: "file",
    }),
    nbd: optional("where", "unix:PATH or tcp:HOST:PORT of the NBD server", nbdValue),
    dirtyBitmap: repeated(
      "snap",
      "NBD clients can ask what differs from this snapshot (qemu:dirty-bitmap:SNAP)",
      asIs,
      { otherwiseText: "all older snapshots" },
    ),
    queues: optional("n", "vhost-user queues offered", countValue(1, maxQueues), {
      otherwiseText: String(defaultQueues),
    }),
    readOnly: flag("refuse writes"),
    exclusive: flag("once the lock is taken, hand it to nobody who asks"),
    lockTimeout: optional(
      "duration",
      "others wait so long for us when we fall silent",
      watchTimeoutValue,
      { otherwiseText: "10s" },
    ),
    null: optional(
      "size",
      "a disk of zeros in place of an image, to measure the front end; needs no cluster",
      sizeValue,
    ),
    ...clusterRows,
  },
  examples: [
    "cairn attach rbd/debian --vhost-user /tmp/vm1.sock",
    "cairn attach rbd/disk1 --nbd tcp:127.0.0.1:10809 --read-only",
    "cairn attach rbd/disk1@monday --nbd unix:/tmp/monday.sock",
    "cairn attach rbd/disk1@tuesday --nbd unix:/tmp/backup.sock --dirty-bitmap monday",
    "cairn attach --null 1G --vhost-user /tmp/null.sock",
  ],
  load: async () => (await import("../attach.js")).attachAction,
});

const lockAdd = verb({
  name: "lock add",
  summary: "Take an advisory lock on an image.",
  details: [
    "It keeps nobody from using the image, nor from removing it: only from adding a lock that it " +
      "excludes. It stays until `cairn lock rm`, also when whoever took it is gone. " +
      "docs/operating/locks.md says more.",
  ],
  slots: [image("the image"), word("lock-id", "a name of your own for the lock", asIs)],
  options: {
    shared: optional("tag", "beside others with the same tag; else nobody else has one", asIs),
    ...clusterRows,
  },
  examples: [
    "cairn lock add rbd/disk1 backup-monday",
    "cairn lock add rbd/disk1 reader-7 --shared readers",
  ],
  load: async () => (await import("../lock.js")).addAction,
});

const lockList = verb({
  name: "lock ls",
  aliases: ["lock list"],
  summary: "Show the locks of an image: the exclusive one of its writer, and advisory ones.",
  slots: [image("the image")],
  options: clusterRows,
  examples: ["cairn lock ls rbd/disk1"],
  load: async () => (await import("../lock.js")).listAction,
});

const lockRemove = verb({
  name: "lock rm",
  aliases: ["lock remove"],
  summary: "Take an advisory lock of an image away, or break its exclusive lock.",
  details: [
    "Of the exclusive lock, its holder is put on the blocklist, so that nothing that it still " +
      "sends is carried out. For holders that are gone this is not needed: they time out.",
  ],
  slots: [
    image("the image"),
    word("lock-id", "as `cairn lock ls` shows it", asIs),
    maybe(word("locker", "whose, as `cairn lock ls` shows it", asIs)),
  ],
  options: {
    expire: withDefault("duration", "how long the holder stays listed", durationValue, 3_600_000, {
      otherwiseText: "1h",
    }),
    ...clusterRows,
  },
  examples: [
    "cairn lock rm rbd/disk1 backup-monday client.17234567890",
    "cairn lock rm rbd/disk1 17234567890.3",
  ],
  load: async () => (await import("../lock.js")).removeAction,
});

/** What the native core takes as one operation. */
const maxIoBytes = 32 * 2 ** 20;

function ioSizeValue(text: string): number {
  const bytes = sizeValue(text);
  if (bytes >= 1 && bytes <= maxIoBytes) return bytes;
  throw new InvalidArgumentError("It should be from 1 to 32M.");
}

/** Bytes, at least one. */
function positiveSize(text: string): number {
  const bytes = sizeValue(text);
  if (bytes > 0) return bytes;
  throw new InvalidArgumentError("It should be more than nothing.");
}

const bench = verb({
  name: "bench",
  summary: "Measure an image. Writes destroy its content.",
  details: [
    "Sequential operations go once through the image, all of them together (seq and full-seq are " +
      "the same), and begin again at its end.",
    "The load runs in the native core of this process. The JSON object has iops, mbPerS (10^6 " +
      "bytes), latencyUs (mean, p50, p95, p99, p999, max), longestGapMs (longest time in which " +
      "no operation finished), series (operations finished in each 100 ms), cpuUsPerOp (total, " +
      "client: this process, osds, monitor; null: not known), cpuNotes (which daemons were " +
      "restarted meanwhile, so that theirs is not known) and cpuSource (proc: read from /proc " +
      "around the run; reports: from the OSDs' reports).",
  ],
  slots: [image("the image")],
  options: {
    ioType: choice("type", "operations", ["read", "write", "rw", "readwrite"], "write"),
    ioSize: withDefault("size", "of each operation", ioSizeValue, 4096),
    ioPattern: choice("pattern", "offsets", ["rand", "seq", "full-seq"], "rand"),
    ioThreads: withDefault("n", "operations in flight", countValue(1, 1024), 16),
    ioTotal: optional("size", "end when so much is done, if not before", positiveSize),
    rwMixRead: withDefault("percent", "of rw: the share of reads", countValue(0, 100), 50),
    time: optional("duration", "how long: 10, 10s, 500ms", durationValue, {
      otherwiseText: "10s, or until --io-total is done",
    }),
    seed: optional("n", "of the random offsets", countValue(1, Number.MAX_SAFE_INTEGER), {
      otherwiseText: "another one each time, which is printed",
    }),
    ...clusterRows,
  },
  examples: [
    "cairn bench rbd/disk1 --io-type write --io-size 4K --io-threads 32 --time 10",
    "cairn bench rbd/disk1 --io-type read --io-threads 1 --time 5s --format json",
  ],
  load: async () => (await import("../bench.js")).benchAction,
});

const watch = verb({
  name: "watch",
  summary: "Tell when an image changes: its size, its snapshots; until SIGINT.",
  details: ["While it runs, the image counts as in use, as with rbd: `cairn rm` refuses it."],
  slots: [image("the image")],
  options: clusterRows,
  examples: ["cairn watch rbd/disk1"],
  load: async () => (await import("../watch.js")).watchAction,
});

export const useFamily: Family = {
  title: "Images in use",
  verbs: [attach, lockAdd, lockList, lockRemove, watch, bench],
};
