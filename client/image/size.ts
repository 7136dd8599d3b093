// Changing an image's size, and giving back what lay behind its new end. docs/format/image.md
import { StorageError } from "../../common/errors.js";
import type { NativeFence } from "../../native/binding.js";
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import type { ImageHeader } from "./header.js";
import { changeHeader, changeOnce } from "./header-change.js";
import { checkImageSize, checkShrink, poolCapacityBytes } from "./image-spec.js";
import { withWorkDevice } from "./layout.js";
import { compareStep, removeStep, setStep, u64Value } from "./omap-values.js";
import type { Progress, Scope } from "./scope.js";

/** Range of one discard. */
export const discardStepBytes = 256 << 20;

export interface ResizeArguments {
  sizeBytes: number;
  allowShrink: boolean;
  overcommit: boolean;
}

/** @throws invalid_argument, out_of_range */
export async function resizeImage(access: ImageAccess, resize: ResizeArguments): Promise<void> {
  const { sizeBytes, allowShrink, overcommit } = resize;
  const { scope, id } = access;
  // A shrink that was cut short is finished first: a later grow must show zeros.
  await finishTrim(access);
  const header = await scope.header(id);
  const growing = sizeBytes > header.sizeBytes;
  const capacityBytes = poolCapacityBytes(scope.cluster.map(), scope.dataPoolOf(header));
  checkImageSize(sizeBytes, overcommit || !growing ? undefined : capacityBytes);
  if (sizeBytes === header.sizeBytes) return;
  if (!growing) checkShrink(sizeBytes, allowShrink);
  await access.quiesced(() => setSize(access, header.sizeBytes, sizeBytes));
  if (!growing) await finishTrim(access);
}

function setSize(access: ImageAccess, from: number, to: number) {
  return changeOnce(access, ({ header, unchanged }) => {
    if (header.sizeBytes !== from || header.trimEndBytes !== undefined) throw resized();
    const { parent } = header;
    const steps = [
      compareStep("size", u64Value(from)),
      compareStep("trim_end", undefined),
      unchanged("parent"),
      setStep("size", u64Value(to)),
    ];
    if (to < from) steps.push(setStep("trim_end", u64Value(from)));
    // What was cut off must not show the parent when the image grows again.
    if (parent !== undefined && to < parent.overlapBytes) {
      steps.push(setStep("parent", encodeValue({ ...parent, overlapBytes: to })));
    }
    return steps;
  });
}

const resized = () =>
  new StorageError("busy", "the image is being resized by somebody else", {
    remedy: "Look at its size with `cairn info`, then try again.",
  });

/** Discards what a shrink has left behind the image's end. */
export async function finishTrim({ scope, id, fence, progress }: ImageAccess): Promise<void> {
  const header = await scope.header(id);
  const { trimEndBytes, sizeBytes } = header;
  if (trimEndBytes === undefined) return;
  // The overlap with a parent ends with the image: it was lowered with the size.
  await discardFrom(scope, header, sizeBytes, progress, fence);
  await changeHeader(scope, id, fence, ({ header: now, unchanged }) =>
    // Somebody else may have finished it too: the same range, discarded twice.
    now.trimEndBytes === trimEndBytes ? [unchanged("trim_end"), removeStep("trim_end")] : undefined,
  );
}

/**
 * Discards all that lies from `begin` on, also behind the image's end, where no parent shows. Costs
 * what there is, however large the image. Can be repeated.
 */
export async function discardFrom(
  scope: Scope,
  header: ImageHeader,
  begin: number,
  progress: Progress,
  fence: NativeFence | undefined,
): Promise<void> {
  // Bytes that lie one after the other are striped over sets of stripeCount objects.
  const setBytes = 2 ** header.order * header.stripeCount;
  const firstSet = Math.ceil(begin / setBytes);
  const limit = firstSet * setBytes;
  const discard = async (device: number) => {
    for (let at = begin; at < limit; ) {
      const next = Math.min(limit, at - (at % discardStepBytes) + discardStepBytes);
      await scope.io.discard(device, at, next - at);
      at = next;
    }
    await scope.io.removeObjects(device, firstSet * header.stripeCount, progress);
  };
  // With its parent, zeros would be written where that may have shown.
  const options = { withoutParent: true, sizeBytes: Math.max(limit, header.sizeBytes) };
  await withWorkDevice(scope, header, fence, discard, options);
}
