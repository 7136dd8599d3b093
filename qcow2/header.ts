// The qcow2 header: every field of versions 2 and 3, the header extensions, and which features we
// can read. Pure, but for one read. Source: qcow2 specification (docs/interop/qcow2.txt of QEMU),
// "Header", "Additional fields", "Header extensions"; docs/format/qcow2.md has the byte table.
import { type ByteSource, hex, imageError } from "./source.js";

export const qcow2Magic = 0x514649fb; // "QFI\xfb"
export const minClusterBits = 9;
/** QEMU's limit as well: 2 MiB. */
export const maxClusterBits = 21;
/** Extended L2 entries need subclusters of at least a sector. */
const minClusterBitsExtended = 14;
const version2Bytes = 72;
const version3Bytes = 104;
const compressionTypeOffset = 104;
const maxBackingNameBytes = 1023;
/** QEMU's limits: 32 MiB of L1 table, 8 MiB of refcount table, 65 536 snapshots. */
export const maxL1Bytes = 32 * 2 ** 20;
export const maxRefcountTableBytes = 8 * 2 ** 20;
export const maxSnapshots = 65_536;

/** Bits of incompatible_features. */
export const incompatible = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  externalDataFile: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
} as const;

const knownIncompatible = Object.values(incompatible).reduce((all, bit) => all | bit, 0n);

/** Types of header extensions. */
export const extensionType = {
  end: 0,
  backingFormat: 0xe2792aca,
  featureNames: 0x6803f857,
  bitmaps: 0x23852875,
  encryption: 0x0537be77,
  externalDataFile: 0x44415441,
} as const;

/** An entry of the feature name table. */
export interface FeatureName {
  kind: "incompatible" | "compatible" | "autoclear";
  bit: number;
  name: string;
}

const featureKinds = ["incompatible", "compatible", "autoclear"] as const;

export interface Qcow2Header {
  version: 2 | 3;
  clusterBits: number;
  clusterBytes: number;
  /** of the guest's disk */
  sizeBytes: number;
  cryptMethod: number;
  l1Entries: number;
  l1Offset: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  snapshotCount: number;
  snapshotsOffset: number;
  incompatibleFeatures: bigint;
  compatibleFeatures: bigint;
  autoclearFeatures: bigint;
  /** log2 of the width of a refcount in bits */
  refcountOrder: number;
  headerLength: number;
  compression: "zlib" | "zstd";
  extendedL2: boolean;
  backingFile: string | undefined;
  /** of the backing file: "raw", "qcow2"... */
  backingFormat: string | undefined;
  featureNames: FeatureName[];
  /** types of all extensions, in order, the unknown ones too */
  extensions: number[];
}

/** Whether the bytes are the start of a qcow2 file (or of its predecessor, version 1). */
export function hasQcow2Magic(bytes: Buffer): boolean {
  return bytes.length >= 4 && bytes.readUInt32BE(0) === qcow2Magic;
}

/**
 * Reads and checks the header of a qcow2 file.
 * @throws corrupt (a field that no writer makes, or the file is cut), incompatible_version,
 *   unsupported_feature (named), too_large (beyond QEMU's limits)
 */
export async function readHeader(source: ByteSource): Promise<Qcow2Header> {
  const start = await source.read(0, Math.min(source.sizeBytes, 2 ** maxClusterBits));
  if (!hasQcow2Magic(start)) throw imageError(source, "invalid_argument", "not a qcow2 image");
  return new HeaderParser(source, start).parse();
}

class HeaderParser {
  constructor(
    private readonly source: ByteSource,
    /** the start of the file: its first cluster, if the file is not cut */
    private readonly bytes: Buffer,
  ) {}

  parse(): Qcow2Header {
    const version = this.version();
    const header = this.fixedFields(version);
    if (version === 3) this.version3Fields(header);
    this.extensions(header);
    this.backingFile(header);
    this.checkFeatures(header);
    this.checkTables(header);
    return header;
  }

  private version(): 2 | 3 {
    this.need(8, "the header");
    const version = this.bytes.readUInt32BE(4);
    if (version !== 2 && version !== 3) {
      throw imageError(
        this.source,
        "incompatible_version",
        `qcow version ${version}, supported are 2 and 3`,
        "Convert it with: qemu-img convert -O qcow2",
      );
    }
    this.need(version === 2 ? version2Bytes : version3Bytes, "the header");
    return version;
  }

  private fixedFields(version: 2 | 3): Qcow2Header {
    const clusterBits = this.bytes.readUInt32BE(20);
    if (clusterBits < minClusterBits || clusterBits > maxClusterBits) {
      this.corrupt(`cluster_bits is ${clusterBits}, not ${minClusterBits} to ${maxClusterBits}`);
    }
    return {
      version,
      clusterBits,
      clusterBytes: 2 ** clusterBits,
      sizeBytes: this.number64(24, "the virtual size"),
      cryptMethod: this.bytes.readUInt32BE(32),
      l1Entries: this.bytes.readUInt32BE(36),
      l1Offset: this.number64(40, "the L1 table offset"),
      refcountTableOffset: this.number64(48, "the refcount table offset"),
      refcountTableClusters: this.bytes.readUInt32BE(56),
      snapshotCount: this.bytes.readUInt32BE(60),
      snapshotsOffset: this.number64(64, "the snapshot table offset"),
      incompatibleFeatures: 0n,
      compatibleFeatures: 0n,
      autoclearFeatures: 0n,
      refcountOrder: 4,
      headerLength: version2Bytes,
      compression: "zlib",
      extendedL2: false,
      backingFile: undefined,
      backingFormat: undefined,
      featureNames: [],
      extensions: [],
    };
  }

  private version3Fields(header: Qcow2Header): void {
    header.incompatibleFeatures = this.bytes.readBigUInt64BE(72);
    header.compatibleFeatures = this.bytes.readBigUInt64BE(80);
    header.autoclearFeatures = this.bytes.readBigUInt64BE(88);
    header.extendedL2 = (header.incompatibleFeatures & incompatible.extendedL2) !== 0n;
    header.refcountOrder = this.bytes.readUInt32BE(96);
    header.headerLength = this.bytes.readUInt32BE(100);
    if (header.refcountOrder > 6) this.corrupt(`refcount_order is ${header.refcountOrder}`);
    const { headerLength, clusterBytes } = header;
    if (headerLength < version3Bytes || headerLength % 8 !== 0 || headerLength > clusterBytes) {
      this.corrupt(`header_length is ${headerLength}`);
    }
    this.need(headerLength, "the header");
    const type = headerLength > compressionTypeOffset ? this.bytes.readUInt8(104) : 0;
    const announced = (header.incompatibleFeatures & incompatible.compressionType) !== 0n;
    if (announced !== (type !== 0)) {
      this.corrupt("compression_type and its feature bit contradict each other");
    }
    if (type > 1) this.unsupported(`compression type ${type}`);
    header.compression = type === 1 ? "zstd" : "zlib";
  }

  /** Walks the extensions to their end mark, or to the end of what they may fill. */
  private extensions(header: Qcow2Header): void {
    const limit = this.extensionLimit(header);
    let position = header.headerLength;
    while (position + 8 <= limit) {
      this.need(position + 8, "the header extensions");
      const type = this.bytes.readUInt32BE(position);
      const length = this.bytes.readUInt32BE(position + 4);
      position += 8;
      if (type === extensionType.end) return;
      if (length > limit - position) {
        this.corrupt(`the header extension ${hex(type)} does not fit into the first cluster`);
      }
      this.need(position + length, "the header extensions");
      header.extensions.push(type);
      this.extension(header, type, this.bytes.subarray(position, position + length));
      position += Math.ceil(length / 8) * 8;
    }
  }

  /** Extensions end where the backing file's name begins, at the latest with the cluster. */
  private extensionLimit(header: Qcow2Header): number {
    const nameOffset = this.number64(8, "the backing file name offset");
    return nameOffset === 0 ? header.clusterBytes : Math.min(nameOffset, header.clusterBytes);
  }

  private extension(header: Qcow2Header, type: number, data: Buffer): void {
    if (type === extensionType.backingFormat) header.backingFormat = data.toString("utf8");
    if (type === extensionType.featureNames) header.featureNames = featureNameTable(data);
  }

  private backingFile(header: Qcow2Header): void {
    const offset = this.number64(8, "the backing file name offset");
    if (offset === 0) return;
    const length = this.bytes.readUInt32BE(16);
    if (length === 0) return;
    if (length > maxBackingNameBytes || offset + length > header.clusterBytes) {
      this.corrupt("the backing file name does not fit into the first cluster");
    }
    this.need(offset + length, "the backing file name");
    header.backingFile = this.bytes.toString("utf8", offset, offset + length);
  }

  private checkFeatures(header: Qcow2Header): void {
    const bits = header.incompatibleFeatures;
    if (header.cryptMethod !== 0) {
      const names = ["", "AES", "LUKS"];
      this.unsupported(
        `encryption (${names[header.cryptMethod] ?? `method ${header.cryptMethod}`})`,
        "Decrypt it with: qemu-img convert --image-opts",
      );
    }
    if ((bits & incompatible.externalDataFile) !== 0n) {
      this.unsupported(
        "external data file (incompatible bit 2)",
        "Join it with: qemu-img convert -O qcow2",
      );
    }
    const unknown = bits & ~knownIncompatible;
    if (unknown !== 0n) {
      this.unsupported(
        unknownFeatures(unknown, header.featureNames),
        "Convert it with a QEMU that knows the feature: qemu-img convert -O qcow2",
      );
    }
    if (header.extendedL2 && header.clusterBits < minClusterBitsExtended) {
      this.corrupt(`extended L2 entries with cluster_bits ${header.clusterBits}`);
    }
  }

  private checkTables(header: Qcow2Header): void {
    checkL1Table(this.source, header);
    if (header.refcountTableClusters * header.clusterBytes > maxRefcountTableBytes) {
      throw imageError(this.source, "too_large", "its refcount table is larger than 8 MiB");
    }
    if (header.snapshotCount > maxSnapshots) {
      throw imageError(this.source, "too_large", `it has more than ${maxSnapshots} snapshots`);
    }
  }

  private number64(at: number, what: string): number {
    const value = this.bytes.readBigUInt64BE(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw imageError(this.source, "too_large", `${what} is ${hex(value)}`);
    }
    return Number(value);
  }

  private need(lengthBytes: number, what: string): void {
    if (this.bytes.length < lengthBytes) this.corrupt(`the file ends inside ${what}`);
  }

  private corrupt(what: string): never {
    throw imageError(this.source, "corrupt", what);
  }

  private unsupported(feature: string, remedy?: string): never {
    const what = `it needs a feature that Cairn does not support: ${feature}`;
    throw imageError(this.source, "unsupported_feature", what, remedy);
  }
}

function featureNameTable(data: Buffer): FeatureName[] {
  const entryBytes = 48;
  const names: FeatureName[] = [];
  for (let at = 0; at + entryBytes <= data.length; at += entryBytes) {
    const kind = featureKinds[data.readUInt8(at)];
    if (kind === undefined) continue;
    const name = data.toString("utf8", at + 2, at + entryBytes).replace(/\0.*$/s, "");
    names.push({ kind, bit: data.readUInt8(at + 1), name });
  }
  return names;
}

function unknownFeatures(bits: bigint, names: FeatureName[]): string {
  const texts: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if ((bits & (1n << BigInt(bit))) === 0n) continue;
    const known = names.find((each) => each.kind === "incompatible" && each.bit === bit);
    texts.push(`${known ? `${JSON.stringify(known.name)} ` : ""}(incompatible bit ${bit})`);
  }
  return texts.join(", ");
}

/**
 * The L1 table has entries for the whole disk, and lies inside the file.
 * @throws corrupt, too_large
 */
export function checkL1Table(source: ByteSource, header: Qcow2Header): void {
  const { clusterBytes, sizeBytes, l1Entries, l1Offset } = header;
  const l2Entries = clusterBytes / (header.extendedL2 ? 16 : 8);
  const needed = Math.ceil(sizeBytes / (clusterBytes * l2Entries));
  if (needed * 8 > maxL1Bytes || l1Entries * 8 > maxL1Bytes) {
    throw imageError(source, "too_large", "its L1 table is larger than 32 MiB");
  }
  if (l1Entries < needed) {
    const what = `the L1 table has ${l1Entries} entries where the size needs ${needed}`;
    throw imageError(source, "corrupt", what);
  }
  if (l1Entries > 0) checkTablePlace(source, "L1 table", l1Offset, l1Entries * 8, clusterBytes);
}

/**
 * A table must start at a cluster and end inside the file.
 * @throws corrupt
 */
export function checkTablePlace(
  source: ByteSource,
  what: string,
  offset: number,
  lengthBytes: number,
  clusterBytes: number,
): void {
  if (offset % clusterBytes !== 0) {
    throw imageError(source, "corrupt", `${what} at offset ${hex(offset)} is not cluster-aligned`);
  }
  if (offset + lengthBytes > source.sizeBytes) {
    throw imageError(
      source,
      "corrupt",
      `${what} at offset ${hex(offset)} lies beyond the end of the file (${hex(source.sizeBytes)})`,
      "The file is probably cut: copy it again, and try qemu-img check.",
    );
  }
}
