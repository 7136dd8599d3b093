// How much clients can still store in a pool. Pure.

interface FreeSpaceOfOsd {
  in: boolean;
  sizeBytes: number;
  /** as it reported last; undefined: it has not */
  usedBytes?: number | undefined;
}

/**
 * What clients can still store, when nothing else grows: each OSD takes one copy at most of the
 * same bytes, and no writes once it has reached the ratio.
 * @param fullRatio of an OSD's size
 */
export function storableBytes(
  osds: readonly FreeSpaceOfOsd[],
  copies: number,
  fullRatio: number,
): number {
  const free = osds
    .filter((osd) => osd.in)
    .map(({ sizeBytes, usedBytes = 0 }) => Math.max(0, sizeBytes * fullRatio - usedBytes))
    .sort((a, b) => a - b);
  // With fewer OSDs than copies each of them takes one.
  const needed = Math.min(copies, free.length);
  let storable = free.length === 0 ? 0 : Number.POSITIVE_INFINITY;
  let sum = 0;
  for (const [index, bytes] of free.entries()) {
    sum += bytes;
    // All that is larger than these takes a copy of everything; the rest is shared out over these.
    const shared = needed - (free.length - index - 1);
    if (shared > 0) storable = Math.min(storable, sum / shared);
  }
  return Math.floor(storable);
}
