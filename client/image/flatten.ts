// Flattening: a clone gets all that it still reads from its parent, and lets that go. Its snapshots
// keep the parent, unless it has the feature deep-flatten. With exclusive access to the image.
import { StorageError } from "../../common/errors.js";
import type { ImageAccess } from "./access.js";
import { anyParent, flattenDeep } from "./deep-flatten.js";
import { detachSteps, finishDetach } from "./family.js";
import { hasFeature } from "./features.js";
import { changeOnce } from "./header-change.js";
import { withWorkDevice } from "./layout.js";
import { removeStep } from "./omap-values.js";

/** @throws invalid_argument when it has no parent */
export async function flatten(access: ImageAccess): Promise<void> {
  const { scope, id, fence, progress } = access;
  const header = await scope.header(id);
  const isDeep = hasFeature(header.features, "deep-flatten");
  if ((isDeep ? anyParent(header) : header.parent) === undefined) {
    throw new StorageError("invalid_argument", "the image has no parent", {
      remedy: "Only clones are flattened; `cairn info` shows the parent.",
    });
  }
  if (header.rollback !== undefined) {
    throw new StorageError("busy", "the image is to be rolled back with its group", {
      remedy: "Let that end first: cairn group snap rollback GROUP@SNAP.",
    });
  }
  if (isDeep) return flattenDeep(access);
  // Fills only what is absent, so front ends may write meanwhile; cut off, it has done no harm.
  await withWorkDevice(scope, header, fence, (device) => scope.io.flattenImage(device, progress), {
    signal: access.wantedElsewhere,
  });
  await access.quiesced(() =>
    changeOnce(access, (view) => {
      if (view.header.parent === undefined) return undefined;
      const after = { ...view.header, parent: undefined };
      return [view.unchanged("parent"), ...detachSteps(view, after), removeStep("parent")];
    }),
  );
  await finishDetach(access);
}
