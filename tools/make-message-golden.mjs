// Makes test/golden/messages: one frame per message of docs/protocol/data-path.md, from the tables
// of that page and not from Cairn's codecs, so that those can be held against it.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32c } from "../proto/crc32c.js";

const folder = join(import.meta.dirname, "../test/golden/messages");

// --- fields: [name, bytes, value as text]
function integer(size) {
  return (name, value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return [name, bytes.subarray(0, size), String(value)];
  };
}
const u8 = integer(1);
const u16 = integer(2);
const u32 = integer(4);
const u64 = integer(8);
const raw = (name, text) => [name, Buffer.from(text), JSON.stringify(text)];
const text16 = (name, text) => [u16(`${name}Length`, Buffer.byteLength(text)), raw(name, text)];
const blob32 = (name, text) => [u32(`${name}Length`, Buffer.byteLength(text)), raw(name, text)];

const pg = (pool, seed) => [u32("pool", pool), u32("seed", seed)];
const version = (epoch, number) => [u32("version.epoch", epoch), u64("version.number", number)];
const request = (client, sequence) => [u64("client", client), u64("sequence", sequence)];
const step = (code, offset, length, pair) => [
  u8("step.code", code),
  u64("step.offset", offset),
  u64("step.length", length),
  pair ? [text16("step.key", pair[0]), blob32("step.value", pair[1])] : [],
];
const steps = (...list) => [u8("stepCount", list.length), list];
const entrySteps = (...list) => [u16("stepCount", list.length), list];
const pairs = (...list) => [
  u32("pairCount", list.length),
  list.map(([key, value]) => [text16("key", key), blob32("value", value)]),
];
const logEntry = (epoch, number, client, sequence, removes, object) => [
  version(epoch, number),
  request(client, sequence),
  u8("removes", removes),
  text16("object", object),
];
const leased = (...pgs) => [
  u64("sentNs", 123456789),
  u32("pgCount", pgs.length),
  pgs.map(([pool, seed, interval]) => [pg(pool, seed), u32("interval", interval)]),
];
const fence = (token, key) => [
  u64("fence.token", token),
  token === 0 ? [] : text16("fence.key", key),
];
const notification = (body) => [
  pg(3, 17),
  u64("notifyId", 9),
  text16("object", "o"),
  text16("cookie", "lock"),
  blob32("body", body),
];
const heartbeat = [
  u64("sentNs", 123456789),
  u32("epoch", 9),
  u32("loopAgeMs", 20),
  u32("diskAgeMs", 30),
];

const scrubHead = (id) => [pg(3, 17), u32("interval", 7), u64("id", id)];
const scrubObject = (name, code, exists, newest, [dataBlocks, blocks, omap], bad) => [
  text16("name", name),
  u16("code", code),
  u8("exists", exists),
  newest,
  u32("dataBlocks", dataBlocks),
  u32("blocksDigest", blocks),
  u32("omapDigest", omap),
  u32("badCount", bad.length),
  bad.map((index) => u32("badBlock", index)),
];

const block = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7) & 255));
const client = 0x1122334455667788n;

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
      u8("exists", 1),
      u32("extentCount", 2),
      [u64("extent.offset", 0), u64("extent.length", 4096), u8("extent.state", 2)],
      [u64("extent.offset", 4096), u64("extent.length", 8192), u8("extent.state", 0)],
      pairs(["a", "1"], ["b", ""]),
      text16("message", ""),
    ],
  ],
  "op-reply-refused": [
    "An OSD whose map is newer refuses an operation.",
    6,
    [
      u64("sequence", 42),
      u16("code", 15),
      u32("epoch", 9),
      u8("exists", 0),
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
  "replicate-ack": [
    "A replica has an entry durable.",
    8,
    [pg(3, 17), u32("interval", 7), u64("number", 100), u16("code", 0)],
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
      u64("base", 0xffffffffffffffffn),
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
  "mark-missing": ["A copy is no good.", 20, [scrubHead(79), text16("object", "o")]],
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
