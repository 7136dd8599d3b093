// What a NativeClient is made with, and what it tells. Part of native/binding.d.ts, which
// re-exports it.
import type { NativeAddress, NativeError } from "./binding.js";
import type { DeviceHandle, ParentCacheOptions } from "./binding-images.js";

export type ClientEvent =
  | { type: "needMap"; epoch: number }
  | { type: "log"; level: "info" | "warn" | "error"; text: string }
  | { type: "export"; handle: number; state: "connected" | "disconnected" }
  /** of a locked image: its first user came, its last one went, or an OSD refused its token */
  | { type: "device"; device: DeviceHandle; state: "wanted" | "unused" | "fenced" }
  /** to be answered by answerNotify() */
  | { type: "notify"; watch: number; answer: number; payload: Uint8Array }
  /** of a remote source: to be answered by sourceFetched() */
  | {
      type: "sourceWanted";
      device: DeviceHandle;
      source: number;
      offset: number;
      lengthBytes: number;
    }
  /** a remote source is used by nobody any more: its files may go */
  | { type: "sourceClosed"; device: DeviceHandle }
  /** it was not renewed for longer than its timeout; with error: it has ended */
  | { type: "watchLapsed"; watch: number; error?: NativeError };

export interface ClientOptions {
  clusterId: Uint8Array;
  clientId: bigint;
  /** to reach OSDs of this machine by Unix sockets */
  localSockets?: boolean;
  /** chunks of snapshots that are parents, shared by all processes of the user on this host */
  parentCache?: ParentCacheOptions;
  onEvents: (events: ClientEvent[]) => void;
}

/** A snapshot whose differences an NBD export offers under its name. */
export interface NativeDirtyBitmap {
  name: string;
  /** its id */
  snap: number;
}

export interface NativeNbdOptions {
  unix?: string;
  /** without unix */
  tcp?: NativeAddress;
  exportName: string;
  /** of an image: contexts qemu:dirty-bitmap:NAME */
  dirtyBitmaps?: NativeDirtyBitmap[];
}
