// Every decoder of this folder against random bytes and random changes of good ones: a value or a
// StorageError comes out, and it comes soon. Seeded; a failure prints the seed of its input.
import { describe, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import { type Epoch, epoch, pgId } from "../common/units.js";
import { crc32c } from "./crc32c.js";
import { decodeValue, encodeValue } from "./encoding.js";
import { emptyMap, testClusterId, testOsd, testPool } from "./fixtures.js";
import { decodeHeader, encodeFrame, FrameDecoder, frameHeaderBytes } from "./frame.js";
import { decodeHello, encodeHello } from "./handshake.js";
import { decodeMessage, encodeMessage, type Message } from "./messages.js";
import { decodePeeringMessage, encodePeeringMessage, type PeeringMessage } from "./peering.js";

const rounds = 3000;
/** Of one input; a decoder that takes this long hangs for all purposes. */
const slowMs = 5000;
/** Changes that nothing notices, or that everything is refused for, test little. */
const leastOfEach = 10;

/** splitmix32: small, and the same everywhere. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) % below;
  };
}

/** Bytes that decoders trip over: length fields, heads of msgpack's maps and arrays, extensions. */
const oddBytes = [
  0x00, 0x7f, 0x80, 0x8f, 0x9f, 0xc1, 0xc7, 0xcb, 0xcf, 0xd4, 0xdb, 0xdd, 0xdf, 0xff,
];

/** A changed copy: flipped, odd or lost bytes, a part repeated or cut off. */
function mutated(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  let made = Array.from(bytes);
  for (let changes = 1 + random(4); changes > 0; changes -= 1) {
    const at = random(made.length + 1);
    const kind = random(6);
    if (kind === 0) made[at] = (made[at] ?? 0) ^ (1 << random(8));
    else if (kind === 1) made[at] = oddBytes[random(oddBytes.length)] ?? 0;
    else if (kind === 2) made.splice(at, 1 + random(8));
    else if (kind === 3) made.splice(at, 0, ...made.slice(at, at + random(16)));
    else if (kind === 4) made = made.slice(0, at);
    else made.splice(at, random(5), ...Array.from({ length: random(5) }, () => random(256)));
  }
  return Uint8Array.from(made);
}

/** Decodes changed copies of the samples. @returns how many were taken and how many refused */
function attack(samples: readonly Uint8Array[], decode: (bytes: Uint8Array) => unknown) {
  const outcome = { taken: 0, refused: 0 };
  for (let seed = 1; seed <= rounds; seed += 1) {
    const random = randomOf(seed);
    const sample = samples[random(samples.length)] ?? new Uint8Array(0);
    const bytes = mutated(sample, random);
    const started = performance.now();
    try {
      decode(bytes);
      outcome.taken += 1;
    } catch (thrown) {
      const what = `seed ${seed}: ${Buffer.from(bytes).toString("hex").slice(0, 400)}`;
      expect(thrown, what).toBeInstanceOf(StorageError);
      outcome.refused += 1;
    }
    expect(performance.now() - started, `seed ${seed} is slow`).toBeLessThan(slowMs);
  }
  return outcome;
}

const map = emptyMap({
  maxOsd: 2,
  osds: [testOsd(0), testOsd(1)],
  pools: [testPool(1)],
  pgTemp: {},
});

const messages: Message[] = [
  { kind: "subscribe", fromEpoch: 3 as Epoch },
  {
    kind: "osdBoot",
    osd: 1,
    uuid: testClusterId,
    incarnation: "12345678901234567890",
    address: { host: "127.0.0.1", port: 6801 },
    sizeBytes: 2 ** 40,
    host: "host1",
    deviceClass: "ssd",
  },
  { kind: "command", id: 7, verb: "osd out", args: { id: 3 } },
  { kind: "maps", full: map, incrementals: [] },
  { kind: "commandReply", id: 7, result: { epoch: 4 } },
];

const shared = { pgid: pgId(1, 0x3f), interval: 7, epoch: epoch(9) };
const peering: PeeringMessage[] = [
  { ...shared, kind: "getLog", after: 2 },
  { ...shared, kind: "missing", after: "a", objects: ["b"], more: false },
  {
    ...shared,
    kind: "info",
    info: { lastUpdate: [7, 12], logTail: 2, lastEpochStarted: 7, missingCount: 0 },
    history: { since: 3, intervals: [{ first: 3, last: 5, acting: [0, 1], maybeActive: true }] },
  },
];

const hello = encodeHello({
  version: 1,
  cluster: new Uint8Array(16).fill(7),
  self: { kind: "osd", id: 3n, incarnation: 99n },
  requiredFeatures: 0,
  supportedFeatures: 5,
  expected: { kind: "monitor", id: 0n, incarnation: 0n },
  refusal: undefined,
});

describe("decoders refuse with a StorageError, whatever they are given:", () => {
  it("values", () => {
    const samples = [
      encodeValue({ a: [1, 2.5, "text", null], b: new Uint8Array(9) }),
      encodeValue(map),
    ];
    const { taken, refused } = attack(samples, decodeValue);
    expect(Math.min(taken, refused)).toBeGreaterThan(leastOfEach);
  });

  it("control messages", () => {
    const { taken, refused } = attack(messages.map(encodeMessage), decodeMessage);
    expect(Math.min(taken, refused)).toBeGreaterThan(leastOfEach);
  });

  it("peering messages", () => {
    const { taken, refused } = attack(peering.map(encodePeeringMessage), decodePeeringMessage);
    expect(Math.min(taken, refused)).toBeGreaterThan(leastOfEach);
  });

  it("hellos", () => {
    const { taken, refused } = attack([hello], decodeHello);
    expect(Math.min(taken, refused)).toBeGreaterThan(leastOfEach);
  });

  it("frames, with right checksums in most headers and cut anywhere", () => {
    const frame = encodeFrame("hello", 1n, hello);
    let bytesOut = 0;
    attack([Buffer.concat([frame, encodeFrame("control", 2n, new Uint8Array(30))])], (bytes) => {
      if (bytes.length >= frameHeaderBytes) {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        view.setUint32(28, crc32c(bytes.subarray(0, 28), 0), true);
        decodeHeader(bytes);
      }
      const decoder = new FrameDecoder();
      for (let at = 0; at < bytes.length; at += 7) {
        for (const { meta } of decoder.push(bytes.subarray(at, at + 7))) bytesOut += meta.length;
      }
    });
    expect(bytesOut).toBeGreaterThan(0);
  });
});
