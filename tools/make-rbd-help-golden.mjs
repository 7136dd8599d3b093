// Writes test/golden/rbd/help.json from `rbd help` of the installed ceph-common: the verbs that an
// image needs, each with its words and options. Those of other matters (mirroring, journals,
// encryption, block devices, caches) are left out.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";

const help = (...words) =>
  execFileSync("rbd", ["help", ...words], { stdio: ["ignore", "pipe", "ignore"] }).toString();
const others = /^(mirror|journal|encryption|device|persistent-cache)\b/;

const list = help().split("<command>\n")[1].split("Optional arguments")[0];
const verbs = list
  .split("\n")
  .map((line) => /^ {4}([a-z][a-z -]*?)(?: \(.*\))?(?: {2}.*)?$/.exec(line)?.[1])
  .filter((name) => name !== undefined && !others.test(name));

const golden = {};
for (const name of verbs) {
  const text = help(...name.split(" "));
  const options = [...text.matchAll(/^\s+(?:-\w \[ )?(--[a-z0-9-]+)/gm)].map(
    ([, option]) => option,
  );
  const usage = text.split("\n\n")[0].replace(/\[--[^\]]*\]|--[a-z-]+ <[a-z-]+>/g, " ");
  const words = [...usage.matchAll(/<([a-z0-9-]+)>/g)].map(([, word]) => word);
  golden[name] = { words: [...new Set(words)], options: [...new Set(options)].sort() };
}
mkdirSync("test/golden/rbd", { recursive: true });
const lines = Object.entries(golden).map(([name, row]) => `  "${name}": ${JSON.stringify(row)}`);
writeFileSync("test/golden/rbd/help.json", `{\n${lines.join(",\n")}\n}\n`);
