// Operations of a NativeClient on objects, for metadata, and the map that they go by. Part of
// native/binding.d.ts, which re-exports it.
import type { NativeAddress } from "./binding.js";
import type { NativeSnapContext } from "./binding-images.js";

export type NativeStepCode =
  | "read"
  | "touch"
  | "remove"
  | "stat"
  | "assertExists"
  | "assertAbsent"
  | "omapGet"
  | "omapList"
  | "omapCompare"
  | "omapSet"
  | "omapRemove"
  /** value: payload (at most 4 KiB), length: timeout in ms; the answers come as omap */
  | "notify"
  | "listWatchers";

export interface NativeStep {
  code: NativeStepCode;
  offset?: number;
  length?: number;
  key?: string;
  /** bytes of an omap value */
  value?: Uint8Array;
}

export interface NativeOpReply {
  exists: boolean;
  omap: Array<[key: string, value: Uint8Array]>;
}

export interface OperateOptions {
  /** what the reading steps see; then no step changes anything */
  snap?: number;
  /** of the changing steps */
  snapContext?: NativeSnapContext;
}

export interface WatchOptions {
  cookie: string;
  /** for people: who watches */
  description: string;
  timeoutMs: number;
}

/** Whose lock: the image's id and the token that its exclusive lock handed out. */
export interface NativeFence {
  key: string;
  token: number;
}

export interface NativeMap {
  epoch: number;
  paused: boolean;
  pools: Array<{ id: number; pgNum: number; size: number; acting: Int32Array }>;
  osds: Array<{ osd: number; address: NativeAddress; incarnation: bigint }>;
}
