// Clones: images that begin as what a snapshot of another one shows, and share its data.
import { StorageError } from "../../common/errors.js";
import { childrenOf } from "./children.js";
import { makeChange } from "./exclusive.js";
import { joinParent } from "./family.js";
import { hasFeature } from "./features.js";
import { decodeHeader, type ImageHeader } from "./header.js";
import type { ImageKey, SnapKey } from "./keys.js";
import { forgetLostChildren } from "./lost-children.js";
import { begin, checkNew, clearStale, type LayoutOptions, publishNew } from "./making.js";
import { migratedFrom } from "./migration-state.js";
import { hasCode, type Omap } from "./omap-values.js";
import type { ParentRef } from "./references.js";
import type { ImageInfo, Progress, Scope } from "./scope.js";
import { snapshotByKey, snapshotByName } from "./snapshots.js";

/** A clone as its parent knows it. */
export interface ChildInfo {
  pool: string;
  namespace: string;
  /** undefined: it has none now: it is in the trash, being made, or being removed */
  name: string | undefined;
  id: string;
  snapshot: string;
}

/** The parent of a clone by names. */
export interface ParentInfo {
  pool: string;
  namespace: string;
  /** undefined: it is in the trash */
  name: string | undefined;
  id: string;
  snapshot: string;
  snapshotId: number;
  overlapBytes: number;
}

export class Clones {
  constructor(private readonly scope: Scope) {}

  /**
   * Makes a clone of a snapshot of this scope's image, there or in another pool or namespace.
   * Objects, stripes and features are the parent's unless told otherwise.
   * @throws not_found, already_exists, invalid_argument
   */
  async create(
    image: string,
    snap: string,
    to: { scope: Scope; name: string },
    layout: LayoutOptions = {},
  ): Promise<ImageInfo> {
    const [known, header] = await this.parentHeader(image, to.scope);
    const snapshot = snapshotByName(header, snap, this.scope.prefix + image);
    refuseUncloneable(header, `${this.scope.prefix}${image}@${snap}`, snapshot.kind);
    const parent: ParentRef = {
      ...this.scope.refOf(header.id),
      snapId: snapshot.id,
      overlapBytes: snapshot.sizeBytes,
    };
    const own: LayoutOptions = {
      objectBytes: 2 ** header.order,
      stripeUnitBytes: header.stripeUnitBytes,
      stripeCount: header.stripeCount,
    };
    const chosen = layout.objectBytes === undefined ? { ...own, ...layout } : layout;
    const clone = { ...chosen, sizeBytes: snapshot.sizeBytes, parent };
    // A clone takes no space of its own at first.
    checkNew(to.scope, to.name, clone, true);
    const made = await begin(to.scope, "creating", to.name, clone, (id) =>
      joinParent(to.scope, parent, to.scope.refOf(id), known),
    );
    return publishNew(to.scope, made);
  }

  /** Read while what dead clients have left where the clone will be is cleared away. */
  private async parentHeader(image: string, to: Scope): Promise<[Omap, ImageHeader]> {
    const read = async (): Promise<[Omap, ImageHeader]> => {
      const id = await this.scope.idOf(image);
      const values = await this.scope.valuesOfNamed(id);
      return [values, decodeHeader(id, values)];
    };
    const [found] = await Promise.all([read(), clearStale(to, ["creating"])]);
    return found;
  }

  /**
   * The clones of all snapshots of an image, or of one; lost ones are not. Of the target of a
   * migration also those of its source, which become its own at the end. @throws not_found
   */
  async children(image: ImageKey, snap?: SnapKey): Promise<ChildInfo[]> {
    const { scope } = this;
    const header = await scope.header(await scope.idOf(image));
    const only = snap === undefined ? undefined : snapshotByKey(scope, header, image, snap);
    const own = await this.childrenOf(scope, header, only?.id);
    const source = await migratedFrom(scope, header);
    if (source === undefined || (only !== undefined && only.source === undefined)) return own;
    return [...own, ...(await this.childrenOf(source.scope, source.header, only?.source))];
  }

  private async childrenOf(
    scope: Scope,
    header: ImageHeader,
    only: number | undefined,
  ): Promise<ChildInfo[]> {
    await forgetLostChildren(scope, header.id, only);
    const found: ChildInfo[] = [];
    for (const { snapId, image: child } of await childrenOf(scope, header.id, only)) {
      const { pool, namespace, imageId } = child;
      const snapshot = header.snapshots.find(({ id }) => id === snapId)?.name ?? String(snapId);
      const name = await this.nameOf(pool, namespace, imageId);
      found.push({ pool: this.scope.poolName(pool), namespace, name, id: imageId, snapshot });
    }
    return found;
  }

  /** Also of a parent that is gone or damaged. undefined: it is no clone. @throws not_found */
  async parent(image: ImageKey): Promise<ParentInfo | undefined> {
    const { parent } = await this.scope.header(await this.scope.idOf(image));
    if (parent === undefined) return undefined;
    const { pool, namespace, imageId, snapId, overlapBytes } = parent;
    return {
      pool: this.scope.poolName(pool),
      namespace,
      name: await this.nameOf(pool, namespace, imageId),
      id: imageId,
      snapshot: await this.snapshotName(pool, namespace, imageId, snapId),
      snapshotId: snapId,
      overlapBytes,
    };
  }

  /**
   * A clone gets all that it reads from its parent, and needs it no more. Goes on while the image
   * is in use. @throws not_found; invalid_argument when it is no clone
   */
  async flatten(image: string, progress?: Progress): Promise<void> {
    await makeChange(this.scope, await this.scope.idOf(image), { kind: "flatten" }, progress);
  }

  /** Its number where the parent cannot be read: then the clone is not readable either. */
  private async snapshotName(
    pool: number,
    namespace: string,
    imageId: string,
    snapId: number,
  ): Promise<string> {
    try {
      const { snapshots } = await this.scope.elsewhere(pool, namespace).header(imageId);
      return snapshots.find(({ id }) => id === snapId)?.name ?? String(snapId);
    } catch (thrown) {
      if (hasCode(thrown, "not_found") || hasCode(thrown, "corrupt")) return String(snapId);
      throw thrown;
    }
  }

  private async nameOf(pool: number, namespace: string, id: string): Promise<string | undefined> {
    try {
      return await this.scope.elsewhere(pool, namespace).directory.nameOf(id);
    } catch (thrown) {
      if (hasCode(thrown, "not_found")) return undefined;
      throw thrown;
    }
  }
}

/** @throws invalid_argument */
export function refuseUncloneable({ features }: ImageHeader, spec: string, kind: string): void {
  if (kind !== "user") {
    throw new StorageError("invalid_argument", `${spec} belongs to a group and can't be cloned`);
  }
  if (hasFeature(features, "layering")) return;
  throw new StorageError("invalid_argument", `the image of ${spec} has not the feature layering`, {
    remedy: "Enable it: cairn feature enable IMAGE layering",
  });
}
