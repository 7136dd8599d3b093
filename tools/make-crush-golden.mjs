// Remakes the golden files of test/golden/crush from its text maps with Ceph's own crushtool
// (Debian package ceph-base):
//
//   npx tsx tools/make-crush-golden.mjs
//
// For each case of cases.txt: runs crushtool, writes the first mapping lines to CASE.lines (a
// thousand of a million, else a hundred) and the digests of all lines back into cases.txt. For each map: writes the compiled
// form to MAP.cmap (by crush/compiled.ts; crushtool has no part in it). Format: the README there.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileCrushMap } from "../crush/compiled.js";
import { parseCrushMap } from "../crush/parse.js";
import {
  crushtoolArguments,
  formatCases,
  LineDigest,
  parseCases,
} from "../test/golden/crush/cases.mjs";

const folder = join(import.meta.dirname, "../test/golden/crush");
const newline = 10;
const scratch = mkdtempSync(join(tmpdir(), "crush-golden-"));

function compileMap(name) {
  const textPath = join(folder, `${name}.txt`);
  const result = spawnSync("crushtool", ["-c", textPath, "-o", join(scratch, `${name}.bin`)]);
  if (result.status !== 0) throw new Error(`crushtool -c ${name}.txt: ${result.stderr}`);
  const compiled = compileCrushMap(parseCrushMap(readFileSync(textPath, "utf8")));
  writeFileSync(join(folder, `${name}.cmap`), compiled);
}

/** Runs one case; returns it with the digests of crushtool's mapping lines. */
async function runCase(golden) {
  const child = spawn("crushtool", crushtoolArguments(golden, join(scratch, `${golden.map}.bin`)), {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const sha256 = createHash("sha256");
  const digest = new LineDigest();
  const expected = golden.maxX - golden.minX + 1;
  const keptLineCount = expected >= 1_000_000 ? 1000 : 100;
  const kept = [];
  let lineCount = 0;
  for await (const chunk of child.stdout) {
    sha256.update(chunk);
    digest.update(chunk);
    for (let start = 0; start < chunk.length; ) {
      const end = chunk.indexOf(newline, start) + 1;
      if (lineCount < keptLineCount) kept.push(chunk.subarray(start, end || chunk.length));
      if (end === 0) break;
      lineCount += 1;
      start = end;
    }
  }
  if (lineCount !== expected) throw new Error(`${golden.name}: ${lineCount} lines`);
  writeFileSync(join(folder, `${golden.name}.lines`), Buffer.concat(kept));
  return { ...golden, ...digest.result(), sha256: sha256.digest("hex") };
}

try {
  const casesPath = join(folder, "cases.txt");
  const cases = parseCases(readFileSync(casesPath, "utf8"));
  for (const map of new Set(cases.map((golden) => golden.map))) compileMap(map);
  const done = [];
  for (const golden of cases) done.push(await runCase(golden));
  writeFileSync(casesPath, formatCases(done));
  process.stdout.write(`${done.length} cases remade\n`);
} finally {
  rmSync(scratch, { recursive: true });
}
