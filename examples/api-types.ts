// The types that programs may rely on, checked when the repository is built: a change that breaks
// one of these breaks the programs of others.
import type { DiffExtent, Image, ImageInfo, Images, SnapshotInfo } from "../client/index.js";

type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Each line is true, or the build fails. */
export const promised: readonly true[] = [
  true satisfies Same<Parameters<Image["read"]>, [offset: number, lengthBytes: number]>,
  true satisfies Same<ReturnType<Image["read"]>, Promise<Uint8Array>>,
  true satisfies Same<Parameters<Image["write"]>, [offset: number, bytes: Uint8Array]>,
  true satisfies Same<ReturnType<Image["flush"]>, Promise<void>>,
  true satisfies Same<ReturnType<Image["snapshots"]>, Promise<SnapshotInfo[]>>,
  true satisfies Same<ReturnType<Image["diff"]> extends AsyncIterable<DiffExtent> ? 1 : 2, 1>,
  true satisfies Same<DiffExtent["state"], "absent" | "zero" | "data">,
  true satisfies Same<Awaited<ReturnType<Image["watch"]>>, () => Promise<void>>,
  true satisfies Same<ReturnType<Images["list"]>, Promise<ImageInfo[]>>,
];
