// The completion of the built CLI as bash runs it: the script, loaded and called with a line. Needs
// `npm run build`. Names of a cluster are completed in test/integration.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const program = fileURLToPath(new URL("../bin/cairn", import.meta.url));
const run = promisify(execFile);

/** What bash would offer at the end of a line. */
async function offered(line: string): Promise<string[]> {
  const script = [
    'source <("$1" completion bash)',
    `COMP_LINE=$2 COMP_POINT=\${#2}`,
    "compopt() { :; }",
    `_cairn; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join("\n");
  const words = ["-c", script, "bash", program, line];
  const env = { ...process.env, CAIRN_DIR: "no-such-folder" };
  const { stdout } = await run("bash", words, { env });
  return stdout.split("\n").filter((word) => word !== "");
}

it("has bash complete verbs and options", async () => {
  expect(await offered(`${program} osd block`)).toEqual(["blocklist"]);
  expect(await offered(`${program} resize rbd/a --allow`)).toEqual(["--allow-shrink"]);
  expect(await offered(`${program} bench rbd/a --io-type r`)).toEqual(["read", "rw", "readwrite"]);
});

it("offers bash only the part behind a word break", async () => {
  expect(await offered(`${program} ls --format=j`)).toEqual(["json"]);
});

it("offers nothing when there is no cluster", async () => {
  expect(await offered(`${program} info `)).toEqual([]);
});
