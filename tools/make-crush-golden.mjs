// Remakes the golden files of test/golden/crush from its text maps with Ceph's own crushtool
// (Debian package ceph-base):
//
//   npx tsx tools/make-crush-golden.mjs
//
// For each case of cases.txt: runs crushtool, writes the first mapping lines to CASE.lines (a
// thousand of a million, else a hundred) and the digests of all lines back into cases.txt. For each
// map: writes the compiled form to MAP.cmap (by crush/compiled.ts; crushtool has no part in it).
// With osdmaptool it writes the placement of a pool's PGs to pgs.rows. Format: the README there.
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

function run(program, args) {
  const result = spawnSync(program, args, { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

function compileMap(name) {
  const textPath = join(folder, `${name}.txt`);
  run("crushtool", ["-c", textPath, "-o", join(scratch, `${name}.bin`)]);
  const compiled = compileCrushMap(parseCrushMap(readFileSync(textPath, "utf8")));
  writeFileSync(join(folder, `${name}.cmap`), compiled);
}

/** The PGs of a replicated pool on the map "racks", as osdmaptool places them with all OSDs in. */
function writePgRows() {
  const osdMap = join(scratch, "osdmap");
  const sizes = ["--createsimple", "56", "--pg-bits", "3", "--pgp-bits", "3"];
  run("osdmaptool", [osdMap, ...sizes, "--with-default-pool", "--clobber"]);
  run("osdmaptool", [osdMap, "--import-crush", join(scratch, "racks.bin")]);
  const dump = run("osdmaptool", [
    osdMap,
    "--mark-up-in",
    "--test-map-pgs-dump-all",
    "--pool",
    "1",
  ]);
  const rows = [...dump.matchAll(/^1\.([0-9a-f]+) raw \(\[([0-9,]+)\]/gm)].map((match, seed) => {
    if (Number.parseInt(match[1], 16) !== seed) throw new Error(`PG ${seed} is missing`);
    return match[2].replaceAll(",", " ");
  });
  const head = `${rows.length} 1 3 0 racks`;
  writeFileSync(join(folder, "pgs.rows"), `${[head, ...rows].join("\n")}\n`);
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
  writePgRows();
  const done = [];
  for (const golden of cases) done.push(await runCase(golden));
  writeFileSync(casesPath, formatCases(done));
  process.stdout.write(`${done.length} cases remade\n`);
} finally {
  rmSync(scratch, { recursive: true });
}
