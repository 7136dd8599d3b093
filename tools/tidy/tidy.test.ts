// The repository passes all checks; and each check can fail.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { checks } from "./checks.js";
import { documentedDependencies, exactVersions } from "./dependencies.js";
import { importDirection } from "./direction.js";
import { fileHeader, fileLength, functionLength, lineLength } from "./layout.js";
import { folderReadme, orphanModules, orphanPages, unbuiltTests } from "./orphans.js";
import { includesPrecompiled } from "./precompiled.js";
import { type Check, readRepository, sourceFile } from "./source-file.js";
import { bannedWords } from "./wording.js";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** What a check says about files given as path and text. */
function findings(check: Check, texts: Record<string, string>): string[] {
  const files = Object.entries(texts).map(([path, text]) => sourceFile(path, text));
  return check(files).map(({ path, line, message }) => `${path}:${line}: ${message}`);
}

describe("the repository", () => {
  const files = readRepository(root);

  it("is read", () => {
    expect(files.length).toBeGreaterThan(200);
    expect(files.map((file) => file.path)).toContain("tools/tidy/tidy.test.ts");
  });

  for (const [name, check] of Object.entries(checks)) {
    it(`passes: ${name}`, () => {
      const lines = check(files).map(({ path, line, message }) => `${path}:${line}: ${message}`);
      expect(lines).toEqual([]);
    });
  }
});

describe("precompiled headers", () => {
  const cmake = {
    "native/CMakeLists.txt":
      "set(PRECOMPILED <map>\n  <vector>)\n  target_precompile_headers(a PRIVATE <napi.h>)",
  };

  it("finds files that use what no header of theirs includes", () => {
    const texts = {
      ...cmake,
      "native/core/base/a.hh": "#include <map>\nstd::map<int, int> a; // std::vector",
      "native/core/base/b.hh": '#include "base/a.hh"\nstd::vector<int> b;\nstd::map<int, int> c;',
      "native/core/base/b.cc": '#include "base/b.hh"\n#include <vector>\nstd::vector<Napi::Env> d;',
    };
    expect(findings(includesPrecompiled, texts)).toEqual([
      "native/core/base/b.hh:2: no #include <vector>",
      "native/core/base/b.cc:3: no #include <napi.h>",
    ]);
  });

  it("finds headers whose names it does not know", () => {
    const texts = { "native/CMakeLists.txt": "set(PRECOMPILED <map> <regex>)" };
    expect(findings(includesPrecompiled, texts)).toEqual([
      expect.stringContaining("<regex> is precompiled"),
    ]);
  });
});

describe("layout", () => {
  it("finds long lines of code and of prose", () => {
    const texts = {
      "a/b.ts": `// ok\n${"x".repeat(101)}\n${"é".repeat(100)}`,
      "a/README.md": `# a\n${"x".repeat(120)}\n${"x".repeat(121)}\n| ${"x".repeat(130)}`,
    };
    expect(findings(lineLength, texts)).toEqual([
      "a/b.ts:2: longer than 100 columns",
      "a/README.md:3: longer than 120 columns",
    ]);
  });

  it("finds long files", () => {
    const texts = { "a.ts": "x\n".repeat(500), "b.cc": "x\n".repeat(501) };
    expect(findings(fileLength, texts)).toEqual(["b.cc:501: 501 lines; at most 500 are allowed"]);
  });

  it("finds files without a comment at their top", () => {
    const texts = {
      "a.ts": "// What this file is.\n",
      "b.mjs": "#!/usr/bin/env node\n// What this file is.\n",
      "c.cc": '#include "c.hh"\n',
      "d.hh": "// d.hh\n",
      "e.md": "# A title\n",
      "f.md": "No title.\n",
      "bin/g": "#!/bin/sh\nexec true\n",
    };
    expect(findings(fileHeader, texts).map((line) => line.split(": ")[0])).toEqual([
      "c.cc:1",
      "d.hh:1",
      "f.md:1",
      "bin/g:2",
    ]);
  });

  it("finds long functions and members, not long namespaces and classes", () => {
    const body = "    work();\n".repeat(70);
    const texts = {
      "a.cc": `namespace a {\n\nvoid f(int a,\n       int b) {\n${body}}\n}  // namespace a\n`,
      "b.hh": `class B {\n public:\n  void g() {\n${body}  }\n};\n`,
      "c.ts": `export class C {\n  h(): void {\n${body}  }\n\n  i(): void {\n  }\n}\n`,
      "d.ts": `export function k(\n  x: number,\n): void {\n${body}}\n`,
    };
    expect(findings(functionLength, texts)).toEqual([
      "a.cc:3: a function of 73 lines; at most 70 are allowed",
      "b.hh:3: a function of 72 lines; at most 70 are allowed",
      "c.ts:2: a function of 72 lines; at most 70 are allowed",
      "d.ts:1: a function of 74 lines; at most 70 are allowed",
    ]);
  });
});

describe("wording", () => {
  it("finds notes, tests that do not run, and paths of one machine", () => {
    const texts = {
      "a.ts": "// FIXME: later\nconst HACKED = 1; // only for now\n",
      "b.test.ts": 'it.skip("x", () => {});\nlist.skip(1);\ndescribe.only("y", f);\n',
      "c_test.cc": 'TEST_CASE("x" * doctest::skip()) {}\n',
      "d.md": "See /home/me/notes, not a/home/b.\n",
    };
    expect(findings(bannedWords, texts)).toEqual([
      "a.ts:1: a leftover note: FIXME",
      "a.ts:2: unfinished work: for now",
      "b.test.ts:1: a test that does not run, or keeps others from it: it.skip",
      "b.test.ts:3: a test that does not run, or keeps others from it: describe.only",
      "c_test.cc:1: a test that does not run, or keeps others from it: doctest::skip",
      "d.md:1: a path of one machine: /home/",
    ]);
  });
});

describe("import direction", () => {
  it("finds TypeScript folders that import upwards or sideways", () => {
    const texts = {
      "common/a.ts": 'import { b } from "../proto/b.js";\n',
      "proto/b.ts": 'import {\n  c,\n} from "../common/c.js";\n',
      "common/c.ts": 'export { x } from "./x.js";\nconst d = await import("../osd/d.js");\n',
      "common/x.ts": "",
      "osd/d.ts": 'import type { M } from "../monitor/m.js";\n',
      "monitor/m.ts": 'import fastify from "fastify";\n',
      "scripts/s.mjs": 'import fastify from "fastify";\nimport { join } from "node:path";\n',
      "scripts/s.test.ts": 'import { it } from "vitest";\n',
      "fresh/f.ts": 'import { b } from "../proto/b.js";\n',
    };
    expect(findings(importDirection, texts)).toEqual([
      "common/a.ts:1: common must not import proto",
      "common/c.ts:2: common must not import osd",
      "osd/d.ts:1: osd must not import monitor",
      "scripts/s.mjs:1: scripts import node:* only, not fastify",
      "fresh/f.ts:1: fresh must not import proto",
    ]);
  });

  it("finds C++ folders that include upwards, and what a folder must not know", () => {
    const core = (path: string): string => `native/core/${path}`;
    const texts = {
      [core("base/a.hh")]: '#include "io/b.hh"\n#include <vector>\n',
      [core("io/b.hh")]: '#include "base/a.hh"\n#include <uv.h>\n',
      [core("virtio/c.cc")]: '#include "image/block_device.hh"\n#include <sys/socket.h>\n',
      [core("virtio/block_queue.hh")]: '#include "image/image.hh"\n',
      [core("vhost_user/d.cc")]: '#include "virtio/block_queue.hh"\n#include "virtio/device.hh"\n',
      [core("vhost_user/d_test.cc")]: '#include "virtio/block_queue.hh"\n',
      [core("pg/e.cc")]: '#include "objecter/f.hh"\n',
      [core("pg/e_test.cc")]: '#include "objecter/f.hh"\n',
      [core("objecter/f.hh")]: "",
      [core("image/block_device.hh")]: "",
      [core("image/image.hh")]: "",
      "native/binding/g.cc": '#include "objecter/f.hh"\n#include <napi.h>\n',
    };
    expect(findings(importDirection, texts)).toEqual([
      "native/core/base/a.hh:1: base must not include io/b.hh",
      "native/core/io/b.hh:2: the core knows nothing of Node: uv.h",
      "native/core/virtio/c.cc:2: virtio knows no socket: sys/socket.h",
      "native/core/virtio/block_queue.hh:1: virtio must not include image/image.hh",
      "native/core/vhost_user/d.cc:1: vhost_user knows no block request: virtio/block_queue.hh",
      "native/core/pg/e.cc:1: pg must not include objecter/f.hh",
    ]);
  });
});

describe("orphans", () => {
  it("finds modules that nothing uses", () => {
    const texts = {
      "package.json": '{ "bin": "dist/cli/main.js" }',
      "cli/main.ts": 'import { used } from "./used.js";\n',
      "cli/used.ts": "",
      "cli/unused.ts": "",
      "cli/unused.test.ts": "",
      "native/core/a/own.hh": "",
      "native/core/a/own.cc": '#include "a/own.hh"\n#include "a/shared.hh"\n',
      "native/core/a/shared.hh": "",
    };
    expect(findings(orphanModules, texts)).toEqual([
      "cli/unused.ts:1: nothing imports or names this file",
      "native/core/a/own.hh:1: nothing imports or names this file",
    ]);
  });

  it("finds pages that nothing mentions", () => {
    const texts = {
      "README.md": "See docs/format/a.md.",
      "docs/format/a.md": "# a, unlike docs/format/b.md's twin",
      "docs/format/b.md": "# b",
      "docs/c.md": "# docs/c.md mentions itself only",
    };
    expect(findings(orphanPages, texts)).toEqual(["docs/c.md:1: no other file mentions this page"]);
  });

  it("finds folders without a README, unless the one above names them", () => {
    const texts = {
      "a/README.md": "`services/` has the services.",
      "a/x.ts": "",
      "a/services/x.ts": "",
      "a/store/x.ts": "",
      "b/x.cc": "",
    };
    expect(findings(folderReadme, texts)).toEqual([
      "a/store:1: the folder has no README.md",
      "b:1: the folder has no README.md",
    ]);
  });

  it("finds C++ tests in folders that CMake does not build", () => {
    const texts = {
      "native/CMakeLists.txt": "foreach(folder base\n  io)\n",
      "native/core/io/a_test.cc": "",
      "native/core/fresh/a_test.cc": "",
    };
    expect(findings(unbuiltTests, texts)).toEqual([
      "native/core/fresh/a_test.cc:1: native/CMakeLists.txt builds no test",
    ]);
  });
});

describe("dependencies", () => {
  const manifest = (versions: Record<string, string>): string =>
    JSON.stringify({ devDependencies: versions }, null, 2);

  it("finds versions that are not exact", () => {
    const texts = { "package.json": manifest({ a: "1.2.3", b: "^1.2.3", c: "latest" }) };
    expect(findings(exactVersions, texts)).toEqual([
      "package.json:4: b is pinned to no exact version: ^1.2.3",
      "package.json:5: c is pinned to no exact version: latest",
    ]);
  });

  it("finds dependencies that the page lacks, and rows that nothing needs", () => {
    const texts = {
      "package.json": manifest({ a: "1.0.0", b: "1.0.0", "@types/a": "1.0.0" }),
      "scripts/debian-packages.json": '{ "build": ["cmake", "g++"] }',
      "docs/dependencies.md":
        "| package | why |\n|---|---|\n| a, old | x |\n| cmake (Debian) | y |",
    };
    expect(findings(documentedDependencies, texts)).toEqual([
      "docs/dependencies.md:1: lacks b of package.json",
      "docs/dependencies.md:3: old is not in package.json",
      "docs/dependencies.md:1: lacks g++ of scripts/debian-packages.json",
    ]);
  });
});
