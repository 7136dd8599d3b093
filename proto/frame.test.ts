// The frame codec: round trips, every split of the stream, every flipped bit, the limits; and its
// checksum.
import { describe, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import { crc32c } from "./crc32c.js";
import {
  encodeFrame,
  type Frame,
  FrameDecoder,
  FrameEncoder,
  frameHeaderBytes,
  fullLimits,
  maxDataBytes,
  maxMetaBytes,
} from "./frame.js";

function patterned(length: number, step: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * step + length) & 0xff);
}

const someFrames: Frame[] = [
  { type: "ping", meta: patterned(0, 1), data: patterned(0, 1) },
  { type: "control", meta: patterned(1, 1), data: patterned(0, 1) },
  { type: "op", meta: patterned(64, 3), data: patterned(300, 7) },
  { type: "push", meta: patterned(0, 1), data: patterned(33, 5) },
  { type: "pong", meta: patterned(0, 1), data: patterned(0, 1) },
];

function streamOf(frames: readonly Frame[]): Uint8Array {
  const encoder = new FrameEncoder();
  return Buffer.concat(frames.map((frame) => encoder.encode(frame.type, frame.meta, frame.data)));
}

/** The decoder's frames, as plain bytes. */
function decode(decoder: FrameDecoder, chunks: readonly Uint8Array[]): Frame[] {
  return chunks.flatMap((chunk) =>
    Array.from(decoder.push(chunk), (frame) => ({
      type: frame.type,
      meta: Uint8Array.from(frame.meta),
      data: Uint8Array.from(frame.data),
    })),
  );
}

function chunksOf(bytes: Uint8Array, length: number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += length) chunks.push(bytes.subarray(at, at + length));
  return chunks;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof StorageError) return error.code;
    throw error;
  }
  return "nothing thrown";
}

describe("crc32c", () => {
  it("gives the check value, and a seed continues", () => {
    const digits = new TextEncoder().encode("123456789");
    expect(crc32c(digits, 0)).toBe(0xe3069283);
    for (let cut = 0; cut <= digits.length; cut++) {
      expect(crc32c(digits.subarray(cut), crc32c(digits.subarray(0, cut), 0))).toBe(0xe3069283);
    }
    expect(crc32c(new Uint8Array(0), 0)).toBe(0);
  });

  it("knows the test vectors of RFC 3720 B.4", () => {
    expect(crc32c(new Uint8Array(32), 0)).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff), 0)).toBe(0x62a8ab43);
    expect(
      crc32c(
        patterned(32, 1).map((_, index) => index),
        0,
      ),
    ).toBe(0x46dd794e);
  });
});

describe("frame", () => {
  it("gives the same frames for any split of the stream", () => {
    const stream = streamOf(someFrames);
    for (let length = 1; length <= stream.length; length++) {
      const frames = decode(new FrameDecoder(), chunksOf(stream, length));
      expect(frames).toEqual(someFrames);
    }
  });

  it("refuses every flipped bit", () => {
    const good = encodeFrame("op", 1n, patterned(20, 3), patterned(30, 5));
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = good.slice();
      const index = bit >> 3;
      bad[index] = (bad[index] ?? 0) ^ (1 << (bit & 7));
      const decoder = new FrameDecoder();
      expect(codeOf(() => decode(decoder, [bad]))).toBe("protocol_error");
      expect(codeOf(() => decode(decoder, [good]))).toBe("protocol_error");
    }
  });

  it("gives neither a frame nor an error for a cut stream", () => {
    const bytes = encodeFrame("op", 1n, patterned(5, 1), patterned(5, 1));
    for (let length = 0; length < bytes.length; length++) {
      expect(decode(new FrameDecoder(), [bytes.subarray(0, length)])).toEqual([]);
    }
  });

  it.each([0n, 1n, 3n])("refuses sequence %d after 1", (second) => {
    const decoder = new FrameDecoder();
    const none = new Uint8Array(0);
    expect(decode(decoder, [encodeFrame("ping", 1n, none)])).toHaveLength(1);
    expect(codeOf(() => decode(decoder, [encodeFrame("ping", second, none)]))).toBe(
      "protocol_error",
    );
  });

  it("passes the largest payload, and keeps to smaller limits", () => {
    const meta = new Uint8Array(maxMetaBytes).fill(1);
    const data = new Uint8Array(maxDataBytes).fill(2);
    const bytes = encodeFrame("push", 1n, meta, data);
    const [frame] = Array.from(new FrameDecoder().push(bytes));
    expect(frame?.meta.length).toBe(maxMetaBytes);
    expect(frame?.data.length).toBe(maxDataBytes);
    const header = bytes.subarray(0, frameHeaderBytes);
    for (const limits of [
      { ...fullLimits, maxMetaBytes: 10 },
      { ...fullLimits, maxDataBytes: 10 },
    ]) {
      expect(codeOf(() => decode(new FrameDecoder(limits), [header]))).toBe("protocol_error");
    }
  });

  it("takes new limits between two frames of one chunk", () => {
    const decoder = new FrameDecoder({ maxMetaBytes: 10, maxDataBytes: 0 });
    const encoder = new FrameEncoder();
    const stream = Buffer.concat([
      encoder.encode("hello", patterned(10, 1)),
      encoder.encode("control", patterned(11, 1)),
    ]);
    const types: string[] = [];
    for (const frame of decoder.push(stream)) {
      types.push(frame.type);
      decoder.setLimits(fullLimits);
    }
    expect(types).toEqual(["hello", "control"]);
  });

  it("uses the checksum function that it is given", () => {
    const wrong = () => 5;
    const bytes = encodeFrame("ping", 1n, patterned(3, 1), undefined, wrong);
    expect(Array.from(new FrameDecoder(fullLimits, wrong).push(bytes))).toHaveLength(1);
    expect(codeOf(() => decode(new FrameDecoder(), [bytes]))).toBe("protocol_error");
  });
});
