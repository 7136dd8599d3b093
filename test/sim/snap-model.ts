// What the objects of an image with snapshots may hold, block by block. After a change that was
// answered with an error the old and the new value are both right: a block is a set of values.

/** A block that was never written, or whose object was removed: a parent would show. */
export const absent = 0;
/** Bytes of zeros, or what is left when they were freed: no parent shows. */
export const zeros = -1;

export type Block = ReadonlySet<number>;
/** By object/block. */
export type Contents = Map<string, Block>;

const nothing: Block = new Set([absent]);

export function blockOf(contents: Contents | undefined, key: string): Block {
  return contents?.get(key) ?? nothing;
}

/** What a read may give. */
export function shownBy(block: Block): Set<number> {
  return new Set([...block].map((value) => (value === zeros ? 0 : value)));
}

/** isDone: the change was answered with ok. */
export function change(contents: Contents, key: string, value: number, isDone: boolean): void {
  contents.set(key, new Set(isDone ? [value] : [...blockOf(contents, key), value]));
}

/** As change(), of a filling: only an absent block gets the value. */
export function fill(contents: Contents, key: string, value: number, isDone: boolean): void {
  const before = blockOf(contents, key);
  if (!before.has(absent)) return;
  const after = new Set([...before, value]);
  if (isDone) after.delete(absent);
  contents.set(key, after);
}

/** Whether one of the layers lacks the block; undefined: that is not known. */
export function isLacking(layers: readonly Contents[], key: string): boolean | undefined {
  const blocks = layers.map((contents) => blockOf(contents, key));
  if (blocks.some((block) => block.size === 1 && block.has(absent))) return true;
  return blocks.some((block) => block.has(absent)) ? undefined : false;
}

/** Whether an object with these blocks exists; undefined: that is not known. */
export function doesExist(contents: Contents, keys: readonly string[]): boolean | undefined {
  const blocks = keys.map((key) => blockOf(contents, key));
  // One that holds nothing but zeros may have gone with them.
  if (blocks.some((block) => [...block].every((value) => value > 0))) return true;
  return blocks.every((block) => block.size === 1 && block.has(absent)) ? false : undefined;
}
