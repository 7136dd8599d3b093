// Diff streams of RBD (docs/format/diff-stream.md), as the native client writes and reads them.
// Part of native/binding.d.ts, which re-exports it.

/** What stands before the diffs of an exported image. */
export interface NativeExportHeader {
  /** objects have 2^order bytes */
  order: number;
  /** bits as in RBD */
  features: number;
  stripeUnitBytes: number;
  stripeCount: number;
  metadata: [key: string, value: string][];
  diffCount: number;
}

/** What stands before the data of a diff. */
export interface NativeDiffHeader {
  version: 1 | 2;
  /** of the snapshot; absent: from nothing */
  fromName?: string;
  /** absent: to the head */
  toName?: string;
  /** of the end snapshot; v2 only */
  protected?: boolean;
  /** of the image at the end */
  sizeBytes?: number;
}

export interface NativeDiffExport extends NativeDiffHeader {
  sizeBytes: number;
  /** id; 0: from nothing */
  fromSnap: number;
  /** whole objects that may differ */
  wholeObject?: boolean;
  /** written before the first diff of an image */
  image?: NativeExportHeader;
}

export type NativeDiffPart =
  | ({ kind: "image" } & NativeExportHeader)
  | ({ kind: "diff" } & NativeDiffHeader);
