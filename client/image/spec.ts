// Names of images as users write them: [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]. Pure.
import { StorageError } from "../../common/errors.js";
import { checkImageName } from "./image-spec.js";

export const defaultPool = "rbd";

/** namespace "": the pool's own images. */
export interface FullSpec {
  pool: string;
  namespace: string;
  image: string;
  snap: string | undefined;
}

export interface SpecRules {
  /** default: refused */
  snap?: "refused" | "allowed" | "required";
  /** where none is named; default rbd */
  pool?: string;
  namespace?: string;
}

/** @throws invalid_argument */
export function parseSpec(text: string, rules: SpecRules = {}): FullSpec {
  const { snap: rule = "refused" } = rules;
  const [path = "", snap, ...more] = text.split("@");
  const parts = path.split("/");
  const wrong = (why: string) =>
    new StorageError("invalid_argument", `"${text}" is no ${formOf(rule)}: ${why}`, {
      remedy: `For example: ${rule === "required" ? "rbd/disk1@monday" : "rbd/disk1"}.`,
    });
  if (more.length > 0) throw wrong("it has more than one @");
  if (parts.length > 3) throw wrong("it has more than two slashes");
  if (snap === undefined && rule === "required") throw wrong("a snapshot is missing");
  if (snap !== undefined && rule === "refused") throw wrong("no snapshot is meant here");
  if (parts.some((part) => part === "")) throw wrong("a name is empty");
  for (const name of snap === undefined ? parts : [...parts, snap]) {
    checkImageName(name);
  }
  const image = parts.at(-1) ?? "";
  const [pool, namespace] = parts.slice(0, -1);
  return {
    pool: pool ?? rules.pool ?? defaultPool,
    // A pool that is named stands for itself, not for the namespace of another default.
    namespace: namespace ?? (pool === undefined ? (rules.namespace ?? "") : ""),
    image,
    snap,
  };
}

function formOf(rule: "refused" | "allowed" | "required"): string {
  const snap = { refused: "", allowed: "[@SNAPSHOT]", required: "@SNAPSHOT" }[rule];
  return `[POOL/[NAMESPACE/]]IMAGE${snap}`;
}

export function formatSpec({ pool, namespace, image, snap }: FullSpec): string {
  const parts = namespace === "" ? [pool, image] : [pool, namespace, image];
  return parts.join("/") + (snap === undefined ? "" : `@${snap}`);
}
