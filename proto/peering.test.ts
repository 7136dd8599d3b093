// Peering messages: every kind goes there and back; what does not fit is refused.
import { describe, expect, it } from "vitest";
import { epoch, pgId } from "../common/units.js";
import { encodeValue } from "./encoding.js";
import {
  decodePeeringMessage,
  encodePeeringMessage,
  logPageEntries,
  type PeeringBody,
  type PeeringMessage,
  peeringKinds,
} from "./peering.js";

const header = { pgid: pgId(1, 0x3f), interval: 7, epoch: epoch(9) };
const entry = { epoch: 7, number: 12, object: "rbd_data.1.0", removes: false };
const history = {
  since: 3,
  intervals: [
    { first: 3, last: 5, acting: [0, 1], maybeActive: true },
    { first: 6, last: 6, acting: [], maybeActive: true, unknown: true as const },
  ],
};
const bodies: { readonly [Kind in PeeringBody["kind"]]: Extract<PeeringBody, { kind: Kind }> } = {
  getInfo: { kind: "getInfo" },
  info: {
    kind: "info",
    info: {
      lastUpdate: [7, 12],
      logTail: 2,
      lastEpochStarted: 7,
      missingCount: 0,
      leaseMs: 440,
      leaseHolder: 2,
    },
    history,
  },
  getLog: { kind: "getLog", after: 2 },
  log: {
    kind: "log",
    after: 2,
    entries: [{ ...entry, bytes: Uint8Array.of(1, 2, 3) }],
    more: true,
    horizon: Uint8Array.of(0, 0, 0, 0, 0),
  },
  getMissing: { kind: "getMissing", after: null },
  missing: { kind: "missing", after: "a", objects: [["b", [7, 12], true]], more: false },
  listObjects: { kind: "listObjects", after: "a" },
  objects: { kind: "objects", after: null, objects: [["a", [7, 12]]], more: false },
  activate: {
    kind: "activate",
    part: 0,
    parts: 2,
    resetLogTo: [0, 2],
    horizon: Uint8Array.of(0, 0, 0, 0, 0),
    rewindTo: 2,
    entries: [Uint8Array.of(1, 2, 3)],
    missing: [["b", [7, 12], false]],
    history,
  },
  activated: { kind: "activated" },
  clean: { kind: "clean" },
  notify: { kind: "notify" },
  removeStray: { kind: "removeStray" },
};

function messageOf(body: PeeringBody): PeeringMessage {
  return { ...body, ...header } as PeeringMessage;
}

function refusal(message: unknown): () => unknown {
  return () => decodePeeringMessage(encodeValue(message));
}

describe("peering messages", () => {
  it.each(peeringKinds)("%s survives the way there and back", (kind) => {
    const message = messageOf(bodies[kind]);
    const decoded = decodePeeringMessage(encodePeeringMessage(message));
    const plain = (value: unknown) => JSON.stringify(value, asArray);
    expect(plain(decoded)).toBe(plain(message));
  });

  it.each(peeringKinds)("%s without its header, or with more in it, is refused", (kind) => {
    expect(refusal(bodies[kind])).toThrow(`bad peering message ${kind}`);
    expect(refusal({ ...messageOf(bodies[kind]), more2: 1 })).toThrow("/more2");
  });

  it.each(peeringKinds)("%s cut short anywhere is a protocol_error", (kind) => {
    const bytes = encodePeeringMessage(messageOf(bodies[kind]));
    for (let length = 0; length < bytes.length; length++) {
      const cut = () => decodePeeringMessage(bytes.subarray(0, length));
      expect(cut, `${length} bytes`).toThrowError(
        expect.objectContaining({ code: "protocol_error" }),
      );
    }
  });

  it.each([
    ["no map", 7, "unexpected peering message kind"],
    ["an unknown kind", { ...header, kind: "toString" }, "unexpected peering message kind"],
    ["a kind of the monitor's protocol", { kind: "subscribe", fromEpoch: 0 }, "unexpected"],
    ["a PG id that is none", { ...messageOf(bodies.getInfo), pgid: "1.03" }, "/pgid"],
    ["a negative number", { ...messageOf(bodies.getLog), after: -1 }, "/after"],
    ["an epoch beyond 32 bits", { ...messageOf(bodies.getInfo), interval: 2 ** 32 }, "/interval"],
    ["an empty object name", { ...messageOf(bodies.missing), objects: [""] }, "/objects/0"],
    ["too many parts", { ...messageOf(bodies.activate), parts: 65537 }, "/parts"],
  ])("%s is refused", (_what, message, text) => {
    expect(refusal(message)).toThrow(text);
  });

  it("bounds pages and entries", () => {
    const small = { ...entry, bytes: Uint8Array.of(1) };
    const page = Array.from({ length: logPageEntries + 1 }, () => small);
    expect(refusal({ ...messageOf(bodies.log), entries: page })).toThrow("/entries");
    const large = { ...entry, bytes: new Uint8Array((64 << 10) + 1) };
    expect(refusal({ ...messageOf(bodies.log), entries: [large] })).toThrow("/entries/0/bytes");
  });
});

function asArray(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  // Buffers turn themselves into this before a replacer sees them.
  const buffer = value as { type?: unknown; data?: unknown } | null;
  return buffer?.type === "Buffer" ? buffer.data : value;
}
