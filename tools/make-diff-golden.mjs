// Makes test/golden/diff: streams from the byte tables of docs/format/diff-stream.md alone, and
// what `rbd merge-diff` (package ceph-common) makes of pairs of them.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "../test/golden/diff");

function number(value, bytes) {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer.subarray(0, bytes);
}

const text = (value) => Buffer.concat([number(value.length, 4), Buffer.from(value)]);

function record(version, tag, ...body) {
  const bytes = Buffer.concat(body);
  const length = version === 2 ? number(bytes.length, 8) : Buffer.alloc(0);
  return Buffer.concat([Buffer.from(tag), length, bytes]);
}

function diff(version, { from, to, isProtected, size, records }) {
  const parts = [Buffer.from(`rbd diff v${version}\n`)];
  if (from) parts.push(record(version, "f", text(from)));
  if (to) parts.push(record(version, "t", text(to)));
  if (version === 2 && to) parts.push(record(version, "p", number(isProtected ? 1 : 0, 1)));
  parts.push(record(version, "s", number(size, 8)));
  for (const [offset, length, fill] of records) {
    const range = [number(offset, 8), number(length, 8)];
    parts.push(
      fill
        ? record(version, "w", ...range, Buffer.alloc(length, fill))
        : record(version, "z", ...range),
    );
  }
  parts.push(Buffer.from("e"));
  return Buffer.concat(parts);
}

function image(fields, metadata, diffs) {
  const parts = [Buffer.from("rbd image v2\n")];
  for (const [tag, value] of fields) parts.push(record(2, tag, number(value, 8)));
  for (const [key, value] of metadata) parts.push(record(2, "M", text(key), text(value)));
  parts.push(Buffer.from("E"), Buffer.from("rbd image diffs v2\n"), number(diffs.length, 8));
  return Buffer.concat([...parts, ...diffs]);
}

const MiB = 1 << 20;
const records = [
  [4096, 16, "A"],
  [8192, 4096],
  [65536, 3, "B"],
];
const streams = {
  "diff-v1.bin": diff(1, { from: "monday", to: "tuesday", size: MiB, records }),
  "diff-v2.bin": diff(2, { from: "monday", to: "tuesday", isProtected: true, size: MiB, records }),
  "image-v2.bin": image(
    [
      ["O", 22],
      ["T", 61],
      ["U", 1 << 22],
      ["C", 1],
    ],
    [["owner", "alice"]],
    [
      diff(2, { to: "monday", size: MiB, records: [[0, 16, "M"]] }),
      diff(2, { from: "monday", size: MiB, records: [[0, 4096]] }),
    ],
  ),
};

const first = { from: "a", to: "b", size: 1000 };
const second = { from: "b", to: "c", size: 1000 };
const merges = {
  apart: [
    { ...first, records: [[0, 10, "A"]] },
    { ...second, records: [[500, 10, "B"]] },
  ],
  "cut-by-second": [
    { ...first, records: [[100, 100, "A"]] },
    {
      ...second,
      records: [
        [120, 10, "B"],
        [150, 10],
        [190, 30, "C"],
      ],
    },
  ],
  "second-over-many": [
    {
      ...first,
      records: [
        [0, 20, "A"],
        [30, 20],
        [60, 20, "B"],
      ],
    },
    { ...second, records: [[10, 60, "C"]] },
  ],
  grows: [
    { ...first, records: [[990, 10, "A"]] },
    { ...second, size: 2000, records: [[1500, 10, "B"]] },
  ],
  shrinks: [
    {
      ...first,
      records: [
        [100, 800, "A"],
        [950, 50],
      ],
    },
    { ...second, size: 500, records: [[0, 10, "B"]] },
  ],
  "from-nothing-to-head": [
    { to: "b", size: 1000, records: [[5, 5, "A"]] },
    { from: "b", size: 1000, records: [[5, 5]] },
  ],
  empty: [
    { ...first, records: [] },
    { ...second, records: [] },
  ],
};

rmSync(join(folder, "merge"), { recursive: true, force: true });
for (const [name, bytes] of Object.entries(streams)) writeFileSync(join(folder, name), bytes);
for (const [name, [older, newer]] of Object.entries(merges)) {
  const own = join(folder, "merge", name);
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, "first.bin"), diff(1, older));
  writeFileSync(join(own, "second.bin"), diff(1, newer));
  const files = ["first.bin", "second.bin", "merged.bin"].map((file) => join(own, file));
  execFileSync("rbd", ["merge-diff", ...files, "--no-progress"], { stdio: "ignore" });
}
