// `npx tsx tools/tidy/main.ts`: runs all checks on the repository, prints `FILE:LINE: message` for
// each finding, and exits with 1 when there is one.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { checks } from "./checks.js";
import { readRepository } from "./source-file.js";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const files = readRepository(root);
const findings = Object.values(checks).flatMap((check) => check(files));
for (const { path, line, message } of findings) {
  process.stdout.write(`${path}:${line}: ${message}\n`);
}
process.stderr.write(`${files.length} files, ${findings.length} findings\n`);
process.exitCode = findings.length === 0 ? 0 : 1;
