// Who in other pools needs a pool: with it they would be lost, though nobody has named them. Images
// that are just being made are not seen.
import { StorageError } from "../../common/errors.js";
import { parentsOf } from "./family.js";
import { headerToRemove } from "./header-to-remove.js";
import { needsSource } from "./migration-record.js";
import { targetRecord } from "./migration-state.js";
import { Namespaces } from "./namespaces.js";
import { hasCode } from "./omap-values.js";
import type { Scope } from "./scope.js";

/** unknown: its header is of a newer version, and could say anything */
export type PoolUse = "data" | "parent" | "migration" | "unknown";

export interface PoolUser {
  /** "rbd/disk1"; of one in the trash with its id */
  image: string;
  use: PoolUse;
}

const parallel = 16;
const maxNamed = 20;

const useText: Readonly<Record<PoolUse, string>> = {
  data: "has its data there",
  parent: "is a clone of an image there",
  migration: "is being migrated from there",
  unknown: "is of a newer version, and may need it",
};

/** @param scope of the pool that is to be removed. @throws busy, naming who needs it */
export async function refuseNeededPool(scope: Scope): Promise<void> {
  const users = await usersOfPool(scope);
  if (users.length === 0) return;
  const named = users.slice(0, maxNamed).map(({ image, use }) => `${image} ${useText[use]}`);
  const more = users.length > maxNamed ? [`and ${users.length - maxNamed} more`] : [];
  const { name } = scope.pool;
  const who = [...named, ...more].join(", ");
  throw new StorageError("busy", `images of other pools need the pool ${name}: ${who}`, {
    remedy:
      "Flatten clones, execute migrations, copy or remove what has its data there. To lose them " +
      `with the pool: cairn pool rm ${name} ${name} --force`,
  });
}

/** Images of other pools, also those in the trash: by pool, namespace and name. */
export async function usersOfPool(scope: Scope): Promise<PoolUser[]> {
  const users: PoolUser[] = [];
  for (const { id } of scope.cluster.map().pools) {
    if (id === scope.pool.id) continue;
    try {
      const namespaces = await new Namespaces(scope.elsewhere(id, "")).list();
      for (const namespace of ["", ...namespaces.map(({ name }) => name)]) {
        users.push(...(await usersIn(scope.elsewhere(id, namespace), scope.pool.id)));
      }
    } catch (thrown) {
      // The other pool has just been removed.
      if (!hasCode(thrown, "not_found")) throw thrown;
    }
  }
  return users;
}

async function usersIn(there: Scope, poolId: number): Promise<PoolUser[]> {
  const images = await imagesIn(there);
  const users: PoolUser[] = [];
  for (let at = 0; at < images.length; at += parallel) {
    const batch = images.slice(at, at + parallel).map(async ({ id, image }) => {
      const use = await useOf(there, id, poolId);
      return use === undefined ? [] : [{ image, use }];
    });
    users.push(...(await Promise.all(batch)).flat());
  }
  return users;
}

async function imagesIn({ directory, prefix }: Scope): Promise<{ id: string; image: string }[]> {
  try {
    const named = (await directory.names()).map(([name, id]) => ({ id, image: prefix + name }));
    const trashed = (await directory.trash()).map(({ id, name }) => ({
      id,
      image: `${prefix}${name} (in the trash: ${id})`,
    }));
    return [...named, ...trashed];
  } catch (thrown) {
    // The namespace is only half made, or has just been removed.
    if (!hasCode(thrown, "not_found")) throw thrown;
    return [];
  }
}

async function useOf(there: Scope, id: string, poolId: number): Promise<PoolUse | undefined> {
  try {
    // Of a damaged header, what it still tells.
    const header = await headerToRemove(there, id);
    if (header === undefined) return undefined;
    if (header.dataPool === poolId) return "data";
    // One that has left its parent needs it no more.
    const parents = parentsOf({ ...header, detaching: undefined });
    if (parents.some(({ pool }) => pool === poolId)) return "parent";
    const record = targetRecord(header);
    if (record === undefined || !needsSource(record) || record.source.kind !== "image") {
      return undefined;
    }
    return record.source.image.pool === poolId ? "migration" : undefined;
  } catch (thrown) {
    if (!hasCode(thrown, "unsupported_feature")) throw thrown;
    return "unknown";
  }
}
