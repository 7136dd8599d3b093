// What images and snapshots are asked for by: names, or ids, which also find what has lost its
// name. Pure.

/** An image by its name, or by its id: also one in the trash. */
export type ImageKey = string | { readonly id: string };

/** A snapshot by its name, or by its id: also one that is kept for its clones only. */
export type SnapKey = string | { readonly id: number };

/** For people. */
export function keyText(key: ImageKey | SnapKey): string {
  return typeof key === "string" ? key : String(key.id);
}
