// Makes test/golden/messages: one frame per message of docs/protocol/data-path.md, from the tables
// of that page and not from Cairn's codecs, so that those can be held against it.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32c } from "../proto/crc32c.js";
import {
  blob32,
  entrySteps,
  fence,
  heartbeat,
  layersStep,
  leased,
  logEntry,
  notification,
  pairs,
  pg,
  request,
  scrubHead,
  scrubObject,
  step,
  steps,
  text16,
  u8,
  u16,
  u32,
  u64,
  version,
} from "./golden-fields.mjs";

const folder = join(import.meta.dirname, "../test/golden/messages");

const block = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7) & 255));
const client = 0x1122334455667788n;
const head = 0xffffffffffffffffn;

// name: [what it is, frame type, fields, data]
const messages = {
  "op-write": [
    "A client writes one block.",
    5,
    [
      request(client, 42),
      u64("oldestUnacked", 40),
      u32("mapEpoch", 7),
      u8("flags", 0),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(5, "1"),
      steps(step(2, 8192, 4096)),
    ],
    block,
  ],
  "op-traced": [
    "A client writes one block and asks where the time goes.",
    5,
    [
      request(client, 42),
      u64("oldestUnacked", 40),
      u32("mapEpoch", 7),
      u8("flags", 8),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(5, "1"),
      steps(step(2, 8192, 4096)),
    ],
    block,
  ],
  "op-reserved": [
    "A client writes one block of an image with a reservation.",
    5,
    [
      request(client, 42),
      u64("oldestUnacked", 40),
      u32("mapEpoch", 7),
      u8("flags", 16),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(5, "1"),
      [u32("reservation.iops", 500), u64("reservation.stream", 3), u32("reservation.served", 2)],
      steps(step(2, 8192, 4096)),
    ],
    block,
  ],
  "op-watch": [
    "A client watches a header.",
    5,
    [
      request(client, 44),
      u64("oldestUnacked", 43),
      u32("mapEpoch", 7),
      u8("flags", 0),
      pg(3, 1),
      text16("object", "rbd_header.1"),
      fence(0),
      steps(step(16, 0, 10_000, ["lock", "host1 pid 7"])),
    ],
  ],
  "op-snap-read": [
    "A client reads a range of a snapshot, with the states of its blocks.",
    5,
    [
      request(client, 45),
      u64("oldestUnacked", 45),
      u32("mapEpoch", 7),
      u8("flags", 2),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(0),
      u64("snap", 6),
      steps(step(20, 8192, 8192)),
    ],
  ],
  "op-copyup": [
    "A resent copyup of an image with two snapshots.",
    5,
    [
      request(client, 46),
      u64("oldestUnacked", 45),
      u32("mapEpoch", 7),
      u8("flags", 1 + 4),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(5, "1"),
      [u64("context.seq", 9), u16("context.count", 2)],
      [u64("context.snap", 6), u64("context.snap", 4)],
      steps(step(21, 8192, 4096)),
    ],
    block,
  ],
  "op-fill-layers": [
    "Deep flattening fills a block of two snapshots and the head.",
    5,
    [
      request(client, 48),
      u64("oldestUnacked", 45),
      u32("mapEpoch", 7),
      u8("flags", 4),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(5, "1"),
      [u64("context.seq", 9), u16("context.count", 2)],
      [u64("context.snap", 6), u64("context.snap", 4)],
      steps(layersStep(32, 8192, 4096, [4, 6, head])),
    ],
    block,
  ],
  "op-lacking": [
    "It asks what a snapshot and the head lack.",
    5,
    [
      request(client, 49),
      u64("oldestUnacked", 45),
      u32("mapEpoch", 7),
      u8("flags", 0),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(0),
      steps(layersStep(33, 0, 12_288, [4, head])),
    ],
  ],
  "op-sparsify": [
    "A client has runs of four blocks of zeros freed; before block 2 a parent may show.",
    5,
    [
      request(client, 50),
      u64("oldestUnacked", 45),
      u32("mapEpoch", 7),
      u8("flags", 0),
      pg(3, 17),
      text16("object", "rbd_data.1.0000000000000002"),
      fence(0),
      steps(step(31, 8192, 16_384)),
    ],
  ],
  "op-list-objects": [
    "A client asks which objects changed since a snapshot.",
    5,
    [
      request(client, 47),
      u64("oldestUnacked", 45),
      u32("mapEpoch", 7),
      u8("flags", 0),
      pg(3, 17),
      text16("object", "rbd_data.1."),
      fence(0),
      steps(step(24, 6, 100, ["rbd_data.1.", "rbd_data.1.0000000000000002"])),
    ],
  ],
  "watch-notify": ["A watcher is notified.", 14, notification("request")],
  "watch-notify-ack": ["It answers.", 15, notification("soon")],
  "op-omap": [
    "A client swaps a value: a guard, then a change.",
    5,
    [
      request(client, 43),
      u64("oldestUnacked", 43),
      u32("mapEpoch", 7),
      u8("flags", 1),
      pg(3, 1),
      text16("object", "rbd_header.1"),
      fence(0),
      steps(step(13, 0, 0, ["size", "1"]), step(14, 0, 0, ["size", "22"])),
    ],
  ],
  "op-reply": [
    "The answer to a read of extents and key-values.",
    6,
    [
      u64("sequence", 42),
      u16("code", 0),
      u32("epoch", 8),
      u8("flags", 1),
      u32("extentCount", 2),
      [u64("extent.offset", 0), u64("extent.length", 4096), u8("extent.state", 2)],
      [u64("extent.offset", 4096), u64("extent.length", 8192), u8("extent.state", 0)],
      pairs(["a", "1"], ["b", ""]),
      text16("message", ""),
    ],
  ],
  "op-reply-traced": [
    "The answer to a traced operation.",
    6,
    [
      u64("sequence", 42),
      u16("code", 0),
      u32("epoch", 8),
      u8("flags", 3),
      u32("extentCount", 2),
      [u64("extent.offset", 0), u64("extent.length", 4096), u8("extent.state", 2)],
      [u64("extent.offset", 4096), u64("extent.length", 8192), u8("extent.state", 0)],
      pairs(["a", "1"], ["b", ""]),
      text16("message", ""),
      [
        u64("trace.totalNs", 9_000_000),
        u64("trace.queueNs", 1_000_000),
        u64("trace.diskNs", 2_000_000),
        u64("trace.replicaWaitNs", 3_000_000),
        u64("trace.replicaNs", 5_000_000),
        u64("trace.replicaCommitNs", 4_000_000),
      ],
    ],
  ],
  "op-reply-refused": [
    "An OSD whose map is newer refuses an operation.",
    6,
    [
      u64("sequence", 42),
      u16("code", 15),
      u32("epoch", 9),
      u8("flags", 0),
      u32("extentCount", 0),
      pairs(),
      text16("message", "new interval"),
    ],
  ],
  replicate: [
    "A primary replicates a write of one block.",
    7,
    [
      pg(3, 17),
      u32("interval", 7),
      u64("trimTo", 4),
      u8("traced", 0),
      logEntry(7, 100, client, 42, 0, "rbd_data.1.0000000000000002"),
      entrySteps(step(2, 8192, 4096)),
    ],
    block,
  ],
  "replicate-traced": [
    "It asks how long the commit takes.",
    7,
    [
      pg(3, 17),
      u32("interval", 7),
      u64("trimTo", 4),
      u8("traced", 1),
      logEntry(7, 100, client, 42, 0, "rbd_data.1.0000000000000002"),
      entrySteps(step(2, 8192, 4096)),
    ],
    block,
  ],
  "replicate-remove": [
    "A primary replicates a removal.",
    7,
    [
      pg(3, 17),
      u32("interval", 7),
      u64("trimTo", 0),
      u8("traced", 0),
      logEntry(7, 101, client, 44, 1, "o"),
      entrySteps(step(6, 0, 0)),
    ],
  ],
  "replicate-clone": [
    "A primary replicates the first write after a snapshot, and a second run of blocks with it.",
    7,
    [
      pg(3, 17),
      u32("interval", 7),
      u64("trimTo", 0),
      u8("traced", 0),
      logEntry(7, 102, client, 46, 0, "o"),
      entrySteps(
        step(27, 9, 0),
        step(2, 8192, 4096),
        step(2, 16384, 4096),
        step(28, 0, 0, ["", "snap set"]),
      ),
    ],
    Buffer.concat([block, block]),
  ],
  "replicate-layers": [
    "A primary divides a clone; head and new clone share a block, and the clone gets another.",
    7,
    [
      pg(3, 17),
      u32("interval", 7),
      u64("trimTo", 0),
      u8("traced", 0),
      logEntry(7, 103, client, 48, 0, "o"),
      entrySteps(
        step(36, 4, 6),
        step(2, 8192, 4096),
        layersStep(35, 8192, 4096, [head, 4]),
        layersStep(34, 16384, 4096, [4]),
        step(28, 0, 0, ["", "snap set"]),
      ),
    ],
    Buffer.concat([block, block]),
  ],
  "replicate-ack": [
    "A replica has an entry durable.",
    8,
    [pg(3, 17), u32("interval", 7), u64("number", 100), u16("code", 0), u8("traced", 0)],
  ],
  "replicate-ack-traced": [
    "It tells how long its commit took.",
    8,
    [
      pg(3, 17),
      u32("interval", 7),
      u64("number", 100),
      u16("code", 0),
      u8("traced", 1),
      u64("commitNs", 4_000_000),
    ],
  ],
  pull: ["Recovery asks for an object.", 9, [pg(3, 17), u32("interval", 7), text16("object", "o")]],
  push: [
    "The only part of an object: a zero block, a data block, a key-value.",
    10,
    [
      pg(3, 17),
      u32("interval", 7),
      text16("object", "o"),
      u8("flags", 1 + 2 + 4),
      version(7, 100),
      u32("blockCount", 2),
      [u32("block.index", 0), u8("block.state", 1), u32("block.crc", 0), version(6, 90)],
      [u32("block.index", 5), u8("block.state", 2), u32("block.crc", 0xdeadbeef), version(7, 100)],
      pairs(["k", "v"]),
    ],
    block,
  ],
  "push-head": [
    "The first part of an object with snapshots: its head.",
    10,
    [
      pg(3, 17),
      u32("interval", 7),
      text16("object", "o"),
      u8("flags", 1 + 2 + 32),
      version(7, 100),
      text16("attribute", "snaps"),
      u32("blockCount", 2),
      [u32("block.index", 0), u8("block.state", 1), u32("block.crc", 0), version(6, 90)],
      [u32("block.index", 5), u8("block.state", 2), u32("block.crc", 0xdeadbeef), version(7, 100)],
      pairs(["k", "v"]),
    ],
    block,
  ],
  "push-clone": [
    "A clone, the last part: as the head, but for an absent block, a data block and no key-values.",
    10,
    [
      pg(3, 17),
      u32("interval", 7),
      text16("object", "o"),
      u8("flags", 1 + 4 + 16 + 64),
      version(6, 95),
      u64("layer", 5),
      u64("base", head),
      u32("blockCount", 2),
      [u32("block.index", 0), u8("block.state", 0), u32("block.crc", 0), version(0, 0)],
      [u32("block.index", 5), u8("block.state", 2), u32("block.crc", 0xdeadbeef), version(6, 90)],
      pairs(),
    ],
    block,
  ],
  "push-ack": [
    "A pushed object is durable.",
    11,
    [pg(3, 17), u32("interval", 7), text16("object", "o"), u16("code", 0)],
  ],
  "scrub-request": [
    "A scrub asks what objects there are.",
    18,
    [
      scrubHead(77),
      u8("question", 1),
      text16("name", "a"),
      text16("end", "q"),
      u64("bytesPerSecond", 0),
      blob32("record", ""),
    ],
  ],
  "scrub-verify": [
    "A scrub has an object read.",
    18,
    [
      scrubHead(78),
      u8("question", 2),
      text16("name", "o"),
      text16("end", ""),
      u64("bytesPerSecond", 1048576),
      blob32("record", ""),
    ],
  ],
  "scrub-reply": [
    "An object with two bad blocks, and one that can't be read.",
    19,
    [
      scrubHead(77),
      u16("code", 0),
      text16("end", "q"),
      u32("objectCount", 2),
      scrubObject("o", 0, 1, version(7, 100), [4, 0xdeadbeef, 0x1234], [0, 9]),
      scrubObject("p", 7, 0, version(0, 0), [0, 0, 0], []),
    ],
  ],
  "mark-missing": [
    "A copy is no good; the good ones have that version.",
    20,
    [scrubHead(79), text16("object", "o"), version(6, 123)],
  ],
  "mark-missing-ack": ["That is noted.", 21, [scrubHead(79), u16("code", 0)]],
  lease: ["A primary asks for the read leases of two PGs.", 12, leased([3, 17, 7], [4, 0, 9])],
  "lease-ack": ["A replica grants one of them.", 13, leased([3, 17, 7])],
  ping: ["A heartbeat.", 3, heartbeat],
  pong: ["The answer to a heartbeat.", 4, heartbeat],
};

function frame(type, meta, data) {
  const header = Buffer.alloc(32);
  header.write("CRN1", 0, "latin1");
  header[4] = 1;
  header[5] = type;
  header.writeUInt32LE(meta.length, 8);
  header.writeUInt32LE(data.length, 12);
  header.writeBigUInt64LE(1n, 16);
  header.writeUInt32LE(crc32c(Buffer.concat([meta, data])), 24);
  header.writeUInt32LE(crc32c(header.subarray(0, 28)), 28);
  return Buffer.concat([header, meta, data]);
}

function fileText([what, type, tree, data = Buffer.alloc(0)]) {
  const fields = [];
  const collect = (node) =>
    typeof node[0] === "string" ? fields.push(node) : node.forEach(collect);
  collect(tree);
  const meta = Buffer.concat(fields.map(([, bytes]) => bytes));
  let offset = 0;
  const table = fields.map(([name, bytes, value]) => {
    const start = String(offset).padStart(4);
    offset += bytes.length;
    return `# ${start} ${String(bytes.length).padStart(3)} ${name} ${value}`;
  });
  const hexadecimal = frame(type, meta, data).toString("hex");
  return [
    `# ${what} The fields of meta (offset, size, name, value):`,
    ...table,
    "kind: message",
    `type: ${type}`,
    "bytes:",
    ...(hexadecimal.match(/.{1,64}/g) ?? []),
    "",
  ].join("\n");
}

mkdirSync(folder, { recursive: true });
for (const [name, message] of Object.entries(messages)) {
  writeFileSync(join(folder, `${name}.hex`), fileText(message));
}
