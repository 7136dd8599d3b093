// Copies of a PG laid beside each other, byte by byte: each object with all that its layers hold.
// Pure: the caller reads.

/** One copy of an object. */
export interface ObjectCopy {
  name: string;
  /** versions, key-values, states and checksums of blocks */
  description: Uint8Array;
  /** of all blocks; zeros for bad ones */
  data: Uint8Array;
  /** that its own checksums tell to be bad, or that can't be read */
  badBlocks: number;
}

/** One OSD's copy of a PG. */
export interface PgCopy {
  osd: number;
  /** @returns the object behind `after` in the order of names' bytes (null: the first), or null */
  next(after: string | null): Promise<ObjectCopy | null>;
}

export interface Comparison {
  /** of the objects that any copy has, in order */
  names: string[];
  /** data of the objects that all copies have, each counted once */
  comparedBytes: number;
  /** one line for each object whose copies are not equal */
  differences: string[];
}

/**
 * @param options tolerateBadBlocks: what a copy knows by its checksums to be bad is no difference;
 *   the data of such an object is not compared
 */
export async function comparePg(
  copies: readonly PgCopy[],
  { tolerateBadBlocks = false } = {},
): Promise<Comparison> {
  const found: Comparison = { names: [], comparedBytes: 0, differences: [] };
  const heads = await Promise.all(copies.map((copy) => copy.next(null)));
  for (;;) {
    const name = firstOf(heads);
    if (name === undefined) return found;
    const held = heads.map((object) => (object?.name === name ? object : null));
    found.names.push(name);
    const difference = differenceOf(copies, held, tolerateBadBlocks);
    if (difference !== undefined) found.differences.push(`${name}: ${difference}`);
    else found.comparedBytes += held[0]?.data.length ?? 0;
    for (const [at, copy] of copies.entries()) {
      if (held[at] !== null) heads[at] = await copy.next(name);
    }
  }
}

function firstOf(objects: readonly (ObjectCopy | null)[]): string | undefined {
  const names = objects.flatMap((object) => (object === null ? [] : [Buffer.from(object.name)]));
  return names.sort(Buffer.compare)[0]?.toString();
}

function differenceOf(
  copies: readonly PgCopy[],
  held: readonly (ObjectCopy | null)[],
  tolerateBadBlocks: boolean,
): string | undefined {
  const lacks = copies.filter((_, at) => held[at] === null).map(({ osd }) => `osd.${osd}`);
  if (lacks.length > 0) return `absent on ${lacks.join(", ")}`;
  const whole = held.flatMap((object) => object ?? []);
  const bad = whole.flatMap(({ badBlocks }, at) =>
    badBlocks === 0 ? [] : [`${badBlocks} bad blocks on osd.${copies[at]?.osd}`],
  );
  if (bad.length > 0 && !tolerateBadBlocks) return bad.join(", ");
  const parts = bad.length > 0 ? (["description"] as const) : (["description", "data"] as const);
  for (const part of parts) {
    for (const [at, other] of whole.entries()) {
      const byte = firstDifference(whole[0]?.[part], other[part]);
      if (byte === undefined) continue;
      const pair = `osd.${copies[0]?.osd} and osd.${copies[at]?.osd}`;
      return `${part} of ${pair} differs from byte ${byte}`;
    }
  }
  return undefined;
}

/** @returns where the bytes, or else the lengths, differ first */
function firstDifference(one: Uint8Array | undefined, other: Uint8Array): number | undefined {
  if (one === undefined || Buffer.compare(one, other) === 0) return undefined;
  const shorter = Math.min(one.length, other.length);
  const at = one.subarray(0, shorter).findIndex((byte, index) => byte !== other[index]);
  return at < 0 ? shorter : at;
}
