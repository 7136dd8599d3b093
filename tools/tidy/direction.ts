// The direction of imports: docs/ARCHITECTURE.md's table as data. What is not listed is refused.
import { importsOf } from "./imports.js";
import { type Check, type Finding, isCpp, isTest, type SourceFile } from "./source-file.js";

const roles = ["common", "proto", "native", "crush"];
const all = [...roles, "monitor", "osd", "client", "qcow2", "vhost-blk", "cli", "bench"];

/** TypeScript: which top folders a folder may import, besides itself. */
export const scriptDirection: Readonly<Record<string, readonly string[]>> = {
  common: [],
  proto: ["common"],
  native: ["common"],
  crush: ["common", "native"],
  monitor: roles,
  osd: roles,
  client: [...roles, "qcow2"],
  qcow2: ["common"],
  "vhost-blk": ["common", "native", "client"],
  cli: all,
  bench: all,
  examples: ["common", "client"],
  scripts: [],
  tools: [...all, "test"],
  test: [...all, "scripts"],
};

/** C++: what a folder of native/core may include: folders, or single headers of a folder. */
export const coreDirection: Readonly<Record<string, readonly string[]>> = {
  base: [],
  io: ["base"],
  net: ["base", "io"],
  crush: ["base"],
  object_store: ["base", "io"],
  pg: ["base", "crush", "io", "net", "object_store"],
  objecter: ["base", "io", "net", "crush"],
  image: ["base", "io", "net", "objecter"],
  virtio: ["base", "io", "image/block_device.hh"],
  vhost_user: ["base", "io", "virtio"],
  nbd: ["base", "io", "net", "image/block_device.hh"],
  qcow2: ["base", "io", "image"],
  diff: ["base", "io", "image", "qcow2"],
};

/** Tests may include more: what they put the folder's code on. */
const coreTestDirection: Readonly<Record<string, readonly string[]>> = {
  pg: ["objecter"],
  image: ["pg", "object_store"],
  vhost_user: ["image"],
  virtio: ["image"],
  qcow2: ["net"],
  diff: ["net"],
};

interface Refusal {
  readonly folders: RegExp;
  readonly target: RegExp;
  readonly why: string;
}

const refusals: readonly Refusal[] = [
  {
    folders: /^native\/core\//,
    target: /^(napi|node_api|node|uv|v8)(\.h|-.*|\/.*)?$/,
    why: "the core knows nothing of Node",
  },
  {
    folders: /^native\/core\/virtio\//,
    target: /^(sys\/socket|sys\/un|netinet\/.*)\.h$/,
    why: "virtio knows no socket",
  },
  {
    folders: /^native\/core\/vhost_user\/(?!.*_test\.cc$)/,
    target: /^virtio\/block_/,
    why: "vhost_user knows no block request",
  },
];

const isTestSupport = (file: SourceFile): boolean =>
  isTest(file) || /\/(sim_osds|test_\w+|\w+_test)\.hh$/.test(file.path);

export const importDirection: Check = (files) => {
  const known = new Set(files.map((file) => file.path));
  return files.flatMap((file) => (isCpp(file) ? checkCpp(file, known) : checkScript(file, known)));
};

function checkScript(file: SourceFile, known: ReadonlySet<string>): Finding[] {
  const folder = file.path.split("/")[0] ?? "";
  const allowed = scriptDirection[folder];
  // The scripts run before anything is installed; their tests do not.
  const isScript = folder === "scripts" && !isTest(file);
  return importsOf(file, known).flatMap(({ line, target, path }) => {
    if (isScript && path === undefined && !target.startsWith("node:")) {
      return [{ path: file.path, line, message: `scripts import node:* only, not ${target}` }];
    }
    const other = path?.split("/")[0];
    if (other === undefined || other === folder || allowed?.includes(other)) return [];
    if (isTest(file) && other === "test") return [];
    return [{ path: file.path, line, message: `${folder} must not import ${other}` }];
  });
}

function checkCpp(file: SourceFile, known: ReadonlySet<string>): Finding[] {
  const folder = /^native\/core\/([^/]+)\//.exec(file.path)?.[1];
  const allowed = folder === undefined ? undefined : (coreDirection[folder] ?? []);
  const extra = folder && isTestSupport(file) ? (coreTestDirection[folder] ?? []) : [];
  return importsOf(file, known).flatMap(({ line, target, path }) => {
    const refusal = refusals.find((r) => r.folders.test(file.path) && r.target.test(target));
    if (refusal) return [{ path: file.path, line, message: `${refusal.why}: ${target}` }];
    const other = /^native\/core\/([^/]+)\//.exec(path ?? "")?.[1];
    if (allowed === undefined || other === undefined || other === folder) return [];
    if ([...allowed, ...extra].some((entry) => entry === other || entry === target)) return [];
    return [{ path: file.path, line, message: `${folder} must not include ${target}` }];
  });
}
