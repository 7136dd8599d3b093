// Which format a file has, by its content. Only raw and qcow2 are read; formats that would
// otherwise be taken for raw disks are refused by name, because importing them as they are would
// give a disk that no guest boots from.
import { hasQcow2Magic } from "./header.js";
import { type ByteSource, imageError } from "./source.js";

export type ImageFormat = "raw" | "qcow2";

interface ForeignFormat {
  name: string;
  offset: number;
  magic: Buffer;
  remedy: string;
}

const convert = "Convert it with: qemu-img convert -O qcow2";
const unpack = "Decompress the file first.";

const foreignFormats: readonly ForeignFormat[] = [
  { name: "VMDK", offset: 0, magic: Buffer.from("KDMV"), remedy: convert },
  { name: "VMDK", offset: 0, magic: Buffer.from("# Disk DescriptorFile"), remedy: convert },
  { name: "VHDX", offset: 0, magic: Buffer.from("vhdxfile"), remedy: convert },
  { name: "VHD", offset: 0, magic: Buffer.from("conectix"), remedy: convert },
  { name: "VDI", offset: 64, magic: Buffer.from([0x7f, 0x10, 0xda, 0xbe]), remedy: convert },
  { name: "QED", offset: 0, magic: Buffer.from("QED\0"), remedy: convert },
  { name: "gzip", offset: 0, magic: Buffer.from([0x1f, 0x8b, 0x08]), remedy: unpack },
  { name: "xz", offset: 0, magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), remedy: unpack },
  { name: "zstd", offset: 0, magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), remedy: unpack },
  { name: "bzip2", offset: 0, magic: Buffer.from("BZh9"), remedy: unpack },
];

const probedBytes = 512;

/**
 * The format of an image file.
 * @throws invalid_argument (empty), unsupported_feature (another known format, with what to do)
 */
export async function probe(source: ByteSource): Promise<ImageFormat> {
  if (source.sizeBytes === 0) throw imageError(source, "invalid_argument", "the file is empty");
  const start = await source.read(0, Math.min(probedBytes, source.sizeBytes));
  if (hasQcow2Magic(start)) return "qcow2";
  for (const { name, offset, magic, remedy } of foreignFormats) {
    if (start.subarray(offset, offset + magic.length).equals(magic)) {
      throw imageError(source, "unsupported_feature", `it is a ${name} file`, remedy);
    }
  }
  return "raw";
}
