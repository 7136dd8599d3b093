// The handshake: encoding, and each reason for which a hello is refused.
import { describe, expect, it } from "vitest";
import { StorageError } from "../common/errors.js";
import {
  checkHello,
  clusterText,
  decodeHello,
  type Entity,
  encodeHello,
  entityText,
  type Hello,
  helloBytes,
} from "./handshake.js";

const osd2: Entity = { kind: "osd", id: 2n, incarnation: 5n };

function dialerHello(changes: Partial<Hello> = {}): Hello {
  return {
    version: 1,
    cluster: new Uint8Array(16).fill(7),
    self: { kind: "client", id: 0xfedcba9876543210n, incarnation: 98n },
    requiredFeatures: 0,
    supportedFeatures: 3,
    expected: osd2,
    refusal: undefined,
    ...changes,
  };
}

function acceptorHello(changes: Partial<Hello> = {}): Hello {
  return { ...dialerHello(), self: osd2, supportedFeatures: 7, expected: undefined, ...changes };
}

/** Both ends must come to the same result. */
function checkBoth(dialer: Hello, acceptor: Hello): string | undefined {
  const code = checkHello(acceptor, dialer)?.code;
  expect(checkHello(dialer, acceptor)?.code).toBe(code);
  return code;
}

describe("handshake", () => {
  it.each([
    dialerHello(),
    acceptorHello({ refusal: "wrong_daemon", requiredFeatures: 0x80000001 }),
  ])("survives encoding (%#)", (hello) => {
    const bytes = encodeHello(hello);
    expect(bytes.length).toBe(helloBytes);
    expect(decodeHello(bytes)).toEqual(hello);
  });

  it.each<[string, Partial<Hello>]>([
    ["the exact incarnation", {}],
    ["any incarnation", { expected: { ...osd2, incarnation: 0n } }],
    ["anybody", { expected: undefined }],
    ["a feature that the peer knows", { requiredFeatures: 4 }],
  ])("welcomes: %s", (_, changes) => {
    expect(checkBoth(dialerHello(changes), acceptorHello())).toBeUndefined();
  });

  it.each<[string, Partial<Hello>]>([
    ["incompatible_version", { version: 2 }],
    ["wrong_cluster", { cluster: new Uint8Array(16) }],
    ["wrong_daemon", { expected: { ...osd2, id: 3n } }],
    ["wrong_daemon", { expected: { ...osd2, kind: "monitor" } }],
    ["wrong_daemon", { expected: { ...osd2, incarnation: 6n } }],
    ["unsupported_feature", { requiredFeatures: 0x80000000 }],
    ["unsupported_feature", { supportedFeatures: 3, requiredFeatures: 8 }],
  ])("refuses with %s (%#)", (code, changes) => {
    expect(checkBoth(dialerHello(changes), acceptorHello())).toBe(code);
  });

  it("tells a refusal in clear words", () => {
    const acceptor = acceptorHello({ self: { ...osd2, id: 3n }, refusal: "wrong_daemon" });
    const error = checkHello(dialerHello(), acceptor);
    expect(error?.code).toBe("wrong_daemon");
    expect(error?.message).toBe(
      "refused by the peer: it is osd.3 (incarnation 5), expected osd.2 (incarnation 5)",
    );
  });

  it("takes an unknown refusal code for a protocol error", () => {
    const bytes = encodeHello(acceptorHello());
    bytes.set([0x60, 0xea], 60);
    expect(decodeHello(bytes).refusal).toBe("protocol_error");
  });

  it("reads only version and refusal of another version", () => {
    const bytes = new Uint8Array(100);
    bytes.set(encodeHello(acceptorHello({ version: 2, refusal: "incompatible_version" })));
    bytes[18] = 200;
    const hello = decodeHello(bytes);
    expect([hello.version, hello.refusal]).toEqual([2, "incompatible_version"]);
    expect(checkHello(dialerHello(), hello)?.code).toBe("incompatible_version");
  });

  it("rejects malformed hellos", () => {
    const good = encodeHello(dialerHello());
    const kindOffsets = [18, 43];
    const bad = [good.subarray(0, helloBytes - 1), Uint8Array.from([...good, 0])];
    for (const offset of kindOffsets) {
      for (const kind of [0, 4]) bad.push(good.map((byte, at) => (at === offset ? kind : byte)));
    }
    for (const bytes of bad) expect(() => decodeHello(bytes)).toThrow(StorageError);
  });

  it("names entities and clusters", () => {
    expect(entityText({ kind: "monitor", id: 0n, incarnation: 0n })).toBe("monitor.0");
    expect(clusterText(Uint8Array.from({ length: 16 }, (_, index) => index * 17))).toBe(
      "00112233-4455-6677-8899-aabbccddeeff",
    );
  });
});
