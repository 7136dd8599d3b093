// The golden frames of test/golden/frame (its README describes the files) against this codec.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { defined } from "../common/assert.js";
import { errorCodeOfNumber, StorageError } from "../common/errors.js";
import {
  checkPayload,
  decodeHeader,
  encodeFrame,
  FrameDecoder,
  type FrameType,
  frameTypes,
} from "./frame.js";
import {
  checkHello,
  decodeHello,
  type Entity,
  type EntityKind,
  encodeHello,
  entityKinds,
  type Hello,
} from "./handshake.js";

const folder = path.join(import.meta.dirname, "..", "test", "golden", "frame");
const files = readdirSync(folder).filter((name) => name.endsWith(".hex"));

interface GoldenFile {
  fields: Map<string, string>;
  bytes: Uint8Array;
}

function fromHexadecimal(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "hex"));
}

function readGolden(name: string): GoldenFile {
  const text = readFileSync(path.join(folder, name), "utf8");
  const [head = "", hexadecimal = ""] = text.split("\nbytes:\n");
  const lines = head.split("\n").filter((line) => !line.startsWith("#"));
  const fields = new Map(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }),
  );
  return { fields, bytes: fromHexadecimal(hexadecimal.replaceAll("\n", "")) };
}

function field(file: GoldenFile, key: string): string {
  return defined(file.fields.get(key), key);
}

function nameOf<Name extends string>(table: Record<Name, number>, number: number): Name {
  const names = Object.keys(table) as Name[];
  return defined(
    names.find((name) => table[name] === number),
    `name of ${number}`,
  );
}

function checkFrame(file: GoldenFile): void {
  const type: FrameType = nameOf(frameTypes, Number(field(file, "type")));
  const sequence = BigInt(field(file, "sequence"));
  const meta = fromHexadecimal(field(file, "meta"));
  const data = fromHexadecimal(field(file, "data"));
  expect(encodeFrame(type, sequence, meta, data)).toEqual(file.bytes);
  const header = decodeHeader(file.bytes);
  expect(header).toMatchObject({
    type,
    sequence,
    metaLength: meta.length,
    dataLength: data.length,
  });
  checkPayload(header, meta, data);
}

function goldenEntity(file: GoldenFile, prefix: string): Entity {
  const kind: EntityKind = nameOf(entityKinds, Number(field(file, `${prefix}Kind`)));
  const id = BigInt(field(file, `${prefix}Id`));
  return { kind, id, incarnation: BigInt(field(file, `${prefix}Incarnation`)) };
}

function firstMeta(file: GoldenFile): Uint8Array {
  const [frame] = Array.from(new FrameDecoder().push(file.bytes));
  expect(frame?.type).toBe("hello");
  return defined(frame, "frame").meta;
}

function checkHelloFile(file: GoldenFile): void {
  const anybody = field(file, "expectedKind") === "0";
  const hello: Hello = {
    version: Number(field(file, "version")),
    cluster: fromHexadecimal(field(file, "cluster")),
    self: goldenEntity(file, "self"),
    requiredFeatures: Number(field(file, "requiredFeatures")),
    supportedFeatures: Number(field(file, "supportedFeatures")),
    expected: anybody ? undefined : goldenEntity(file, "expected"),
    refusal: errorCodeOfNumber(Number(field(file, "refusal"))),
  };
  expect(encodeFrame("hello", 1n, encodeHello(hello))).toEqual(file.bytes);
  expect(decodeHello(firstMeta(file))).toEqual(hello);
}

function expectProtocolError(file: GoldenFile, action: () => unknown): void {
  let thrown: unknown;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(StorageError);
  expect(thrown).toMatchObject({
    code: "protocol_error",
    message: expect.stringContaining(field(file, "error")),
  });
}

const ourHello: Hello = {
  version: 1,
  cluster: new Uint8Array(16),
  self: { kind: "client", id: 0n, incarnation: 0n },
  requiredFeatures: 0,
  supportedFeatures: 0,
  expected: undefined,
  refusal: undefined,
};

/** By the file's kind. */
const checks: Record<string, (file: GoldenFile) => void> = {
  frame: checkFrame,
  hello: checkHelloFile,
  reject: (file) =>
    expectProtocolError(file, () => Array.from(new FrameDecoder().push(file.bytes))),
  "reject-hello": (file) => expectProtocolError(file, () => decodeHello(firstMeta(file))),
  "refuse-hello": (file) =>
    expect(checkHello(ourHello, decodeHello(firstMeta(file)))?.code).toBe(field(file, "error")),
};

describe("golden frames", () => {
  it("are there", () => {
    expect(files.length).toBeGreaterThanOrEqual(20);
  });

  it.each(files)("%s", (name) => {
    const file = readGolden(name);
    defined(checks[field(file, "kind")], "check of this kind")(file);
  });
});
