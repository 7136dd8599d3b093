// A disk as fsx sees it, whatever is between it and the image. All offsets and lengths in bytes.

/** A run of the disk that is said to read as zeros. */
export interface ZeroRun {
  offset: number;
  lengthBytes: number;
}

export interface Disk {
  readonly sizeBytes: number;
  read(offset: number, lengthBytes: number): Promise<Uint8Array>;
  write(offset: number, bytes: Uint8Array): Promise<void>;
  writeZeroes(offset: number, lengthBytes: number, mayUnmap: boolean): Promise<void>;
  discard(offset: number, lengthBytes: number): Promise<void>;
  flush(): Promise<void>;
  /** Ranges that read as zeros; undefined: this path cannot tell. */
  zeroRuns(offset: number, lengthBytes: number): Promise<ZeroRun[] | undefined>;
  /** Settles when the image's lock is lost, with why. */
  readonly lockLost: Promise<{ readonly code: string }>;
  close(): Promise<void>;
}

/** What a front end sees of it: its lock is the export's. */
export type ExportedDisk = Omit<Disk, "lockLost">;

/** An image or a snapshot that is only looked at. */
export type View = Pick<Disk, "sizeBytes" | "read" | "close">;
