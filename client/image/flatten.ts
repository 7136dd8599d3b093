// Flattening: a clone gets all that it still reads from its parent, and lets that go. Its snapshots
// keep the parent: what they show never changes. With exclusive access to the image.
import { StorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { detachSteps, finishDetach } from "./family.js";
import { changeOnce } from "./header-change.js";
import { withWorkDevice } from "./layout.js";
import { removeStep } from "./omap-values.js";

/** @throws invalid_argument when it has no parent */
export async function flatten(access: ImageAccess): Promise<void> {
  const { scope, id, fence, progress } = access;
  const header = await scope.header(id);
  if (header.parent === undefined) {
    throw new StorageError("invalid_argument", "the image has no parent", {
      remedy: "Only clones are flattened; `cairn info` shows the parent.",
    });
  }
  // Fills only what is absent, so front ends may write meanwhile; cut off, it has done no harm.
  await withWorkDevice(scope, header, fence, (device) => scope.io.flattenImage(device, progress));
  await access.quiesced(() =>
    changeOnce(access, (view) => {
      if (view.header.parent === undefined) return undefined;
      const after = { ...view.header, parent: undefined };
      return [view.unchanged("parent"), ...detachSteps(view, after), removeStep("parent")];
    }),
  );
  await finishDetach(access);
}
