// Where images live: a pool, or a namespace of it, seen through one client. Reads headers. What the
// parts of the image layer share.
import { StorageError } from "../../common/errors.js";
import type { Clock, Random } from "../../common/ports.js";
import type { ClientEvent, NativeClient } from "../../native/binding.js";
import type { OsdMap, PoolInfo } from "../../proto/osd-map.js";
import { Directory } from "./directory.js";
import { featureNames, type ImageFeature } from "./features.js";
import { decodeHeader, headerObject, type ImageHeader, readHeaderSteps } from "./header.js";
import type { LockIo, LockPorts } from "./image-lock.js";
import { checkImageName } from "./image-spec.js";
import { type ImageKey, keyText } from "./keys.js";
import { hasCode, type Omap } from "./omap-values.js";
import type { ImageRef, ParentRef } from "./references.js";

export type ImageIo = LockIo &
  Pick<
    NativeClient,
    | "openImage"
    | "openSource"
    | "sourceFetched"
    | "retarget"
    | "closeDevice"
    | "discard"
    | "setSnapContext"
    | "setParent"
    | "setQos"
    | "deviceStats"
    | "traceDevice"
    | "diffImage"
    | "measureImage"
    | "rollbackImage"
    | "flattenImage"
    | "removeObjects"
    | "provisionImage"
    | "sparsifyImage"
    | "cancelJobs"
  >;

/** Snapshot ids of a pool, which the monitor hands out. */
export interface SnapshotIds {
  /** A new id, above all that were ever handed out in that pool. */
  allocate(pool: PoolInfo): Promise<number>;
  /** The OSDs may give back the space of these. Can be repeated. */
  remove(pool: PoolInfo, ids: number[]): Promise<void>;
}

/** What the image layer needs of a cluster client. */
export interface ImageCluster<Io extends ImageIo = ImageIo> {
  io: Io;
  clientId: bigint;
  /** "host1 pid 7": for people */
  description: string;
  /** of the host that it runs on: options can be set for it */
  hostName: string;
  /** what is kept, on the disk of this host, of each image file of a web server that is read */
  httpCacheBytes: number;
  snapshotIds: SnapshotIds;
  /** Calls listener with each event of the native client. Returns its end. */
  onEvent(listener: (event: ClientEvent) => void): () => void;
  map(): OsdMap;
  /** Calls listener when there is a newer map. Returns its end. */
  onMap(listener: () => void): () => void;
  pool(name: string): PoolInfo;
  /** What clients can still store in a pool, by what the OSDs reported last. */
  storableBytes(pool: PoolInfo): Promise<number>;
}

export interface ImagePorts {
  clock: Clock;
  random: Random;
}

export interface ImageInfo {
  pool: string;
  /** "": none */
  namespace: string;
  name: string;
  id: string;
  sizeBytes: number;
  objectBytes: number;
  objectCount: number;
  objectPrefix: string;
  stripeUnitBytes: number;
  stripeCount: number;
  /** name of the pool that has the data, when that is another one */
  dataPool: string | undefined;
  features: ImageFeature[];
  /** of those that `snap ls` shows */
  snapshotCount: number;
  snapshotLimit: number | undefined;
  parent: ParentRef | undefined;
  /** id of the group that it belongs to */
  groupId: string | undefined;
  /** milliseconds since 1970 */
  createdAt: number;
}

/** How much of how much is done, in a unit of the work's own. */
export type Progress = (done: number, total: number) => void;
export const noProgress: Progress = () => undefined;

export class Scope<Io extends ImageIo = ImageIo> {
  readonly directory: Directory;

  constructor(
    readonly cluster: ImageCluster<Io>,
    readonly pool: PoolInfo,
    readonly namespace: string,
    readonly ports: ImagePorts,
  ) {
    this.directory = new Directory(cluster.io, { pool, namespace });
  }

  get io(): Io {
    return this.cluster.io;
  }

  /** "rbd/ns/": before a name, in messages */
  get prefix(): string {
    return this.directory.prefix;
  }

  nowMs(): number {
    return this.ports.clock.wallMs();
  }

  /** 16 hexadecimal digits that nothing else has. */
  newId(): string {
    return this.ports.random.uint64().toString(16).padStart(16, "0");
  }

  /** @throws not_found when the pool is gone */
  elsewhere(poolId: number, namespace: string): Scope<Io> {
    return new Scope(this.cluster, this.poolOf(poolId), namespace, this.ports);
  }

  /** @throws not_found */
  poolOf(id: number): PoolInfo {
    const pool = this.cluster.map().pools.find((candidate) => candidate.id === id);
    if (pool !== undefined) return pool;
    throw new StorageError("not_found", `the pool with the id ${id} is gone`);
  }

  /** For people, also of a pool that is gone. */
  poolName(id: number): string {
    const pool = this.cluster.map().pools.find((candidate) => candidate.id === id);
    return pool?.name ?? `(removed pool ${id})`;
  }

  /** The pool that has an image's data. @throws not_found */
  dataPoolOf(header: ImageHeader): PoolInfo {
    if (header.dataPool === undefined) return this.pool;
    if (this.hasData(header)) return this.poolOf(header.dataPool);
    throw new StorageError("not_found", `the pool ${header.dataPool} of the image's data is gone`, {
      remedy: "Nothing is left to be read; `cairn rm` removes the image.",
    });
  }

  /** False when the pool of an image's data has been removed. */
  hasData({ dataPool }: ImageHeader): boolean {
    return dataPool === undefined || this.cluster.map().pools.some(({ id }) => id === dataPool);
  }

  refOf(id: string): ImageRef {
    return { pool: this.pool.id, namespace: this.namespace, imageId: id };
  }

  /** @throws invalid_argument, not_found */
  async idOf(image: ImageKey): Promise<string> {
    return (await this.named(image)).id;
  }

  /**
   * An image's id with its name; one in the trash has the name that it had.
   * @throws invalid_argument, not_found: also when it is being made or removed
   */
  async named(image: ImageKey): Promise<{ id: string; name: string }> {
    if (typeof image === "string") {
      checkImageName(image);
      const id = await this.directory.idOf(image);
      if (id === undefined) throw this.missing(image);
      return { id, name: image };
    }
    const { id } = image;
    checkImageName(id);
    const name = (await this.directory.nameOf(id)) ?? (await this.directory.trashEntry(id))?.name;
    if (name !== undefined) return { id, name };
    throw new StorageError("not_found", `there is no image with the id ${id} in ${this.place}`, {
      remedy: `\`cairn trash ls ${this.place}\` lists the ids of those in the trash.`,
    });
  }

  /** How an image is named on the command line, for remedies. */
  wordsFor(image: ImageKey): string {
    if (typeof image === "string") return this.prefix + image;
    const inNamespace = this.namespace === "" ? "" : ` --namespace ${this.namespace}`;
    return `--pool ${this.pool.name}${inNamespace} --image-id ${image.id}`;
  }

  /** "rbd/disk1", "rbd/ns/ID", for messages */
  specOf(image: ImageKey): string {
    return this.prefix + keyText(image);
  }

  missing(name: string): StorageError {
    return new StorageError("not_found", `there is no image ${this.prefix}${name}`, {
      remedy: `\`cairn ls ${this.place}\` lists the images.`,
    });
  }

  /** "rbd", "rbd/ns" */
  private get place(): string {
    return this.prefix.slice(0, -1);
  }

  /** @throws corrupt, unsupported_feature */
  async header(id: string): Promise<ImageHeader> {
    return this.decoded(id, await this.valuesOfNamed(id));
  }

  /** The key-values of the header of an image that has a name. @throws corrupt */
  async valuesOfNamed(id: string): Promise<Omap> {
    const omap = await this.headerValues(id);
    if (omap !== undefined) return omap;
    throw new StorageError("corrupt", `${headerObject(id)} is missing, though the image is named`);
  }

  async headerIfAny(id: string): Promise<ImageHeader | undefined> {
    const omap = await this.headerValues(id);
    return omap === undefined ? undefined : this.decoded(id, omap);
  }

  /** The key-values of a header but its children and metadata. */
  async headerValues(id: string): Promise<Omap | undefined> {
    const { exists, omap } = await this.io.operate(
      this.pool.id,
      headerObject(id),
      readHeaderSteps(),
    );
    return exists ? omap : undefined;
  }

  private decoded(id: string, omap: Omap): ImageHeader {
    try {
      return decodeHeader(id, omap);
    } catch (thrown) {
      if (!hasCode(thrown, "corrupt")) throw thrown;
      throw new StorageError("corrupt", (thrown as StorageError).message, {
        remedy: "The image can't be read without it; `cairn rm` removes what is left.",
        cause: thrown,
      });
    }
  }

  infoOf(name: string, header: ImageHeader): ImageInfo {
    const objectBytes = 2 ** header.order;
    return {
      pool: this.pool.name,
      namespace: this.namespace,
      name,
      id: header.id,
      sizeBytes: header.sizeBytes,
      objectBytes,
      objectCount: Math.ceil(header.sizeBytes / objectBytes),
      objectPrefix: header.objectPrefix,
      stripeUnitBytes: header.stripeUnitBytes,
      stripeCount: header.stripeCount,
      dataPool: header.dataPool === undefined ? undefined : this.poolName(header.dataPool),
      features: featureNames(header.features),
      snapshotCount: header.snapshots.filter(isListed).length,
      snapshotLimit: header.snapLimit,
      parent: header.parent,
      groupId: header.group?.groupId,
      createdAt: header.createdAt,
    };
  }

  /** For one lock, or one watch: each has a cookie of its own. */
  lockPorts(): LockPorts {
    const { io, clientId, description } = this.cluster;
    return {
      io,
      clientId,
      cookie: `image-${this.newId()}`,
      description,
      clock: this.ports.clock,
      onEvent: (listener) => this.cluster.onEvent(listener),
    };
  }
}

/** A snapshot that exists for its users. */
export function isListed({ kind, state }: ImageHeader["snapshots"][number]): boolean {
  return kind === "user" && state === "ready";
}
