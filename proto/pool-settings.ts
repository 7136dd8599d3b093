// The settings of a pool that can be changed while it is used, by the names that Ceph gives them.

export const poolSettings = [
  "pg_num",
  "pgp_num",
  "size",
  "min_size",
  "crush_rule",
  "application",
] as const;
export type PoolSetting = (typeof poolSettings)[number];
