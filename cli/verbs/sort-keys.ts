// What `cairn top` can sort by.
export const sortKeys = [
  "iops",
  "read-iops",
  "write-iops",
  "bandwidth",
  "read-bandwidth",
  "write-bandwidth",
  "latency",
  "read-latency",
  "write-latency",
  "name",
] as const;
export type SortKey = (typeof sortKeys)[number];
