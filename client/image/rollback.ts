// Rolling an image back to a snapshot, with exclusive access to it. The header says so before the
// first object changes: a rollback that was cut off is finished before anybody uses the image, so
// nobody ever sees half of one.
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import { detachSteps } from "./family.js";
import { groupWantsRollback } from "./group-record.js";
import type { ImageHeader } from "./header.js";
import { changeHeader, changeOnce, type HeaderView } from "./header-change.js";
import type { ChangeOf } from "./image-change.js";
import { snapshotById, withWorkDevice } from "./layout.js";
import { compareStep, removeStep, setStep, u64Value } from "./omap-values.js";
import { finishTrim } from "./size.js";
import type { Snapshot } from "./snapshot-record.js";

/** @throws not_found */
export async function rollback(access: ImageAccess, snapId: number): Promise<void> {
  const { scope, id } = access;
  snapshotById(await scope.header(id), snapId);
  await finishTrim(access);
  await access.quiesced(async () => {
    await changeOnce(access, ({ header, unchanged }) => {
      snapshotById(header, snapId);
      return [unchanged("rollback"), setStep("rollback", encodeValue({ snapId }))];
    });
    await finishRollback(access);
  });
}

/** Notes a rollback that waits for what the group's snapshot says. */
export async function markRollback(
  access: ImageAccess,
  { snapId, group, snapshot }: ChangeOf<"rollbackMark">,
): Promise<void> {
  await finishTrim(access);
  const mark = { snapId, group: { ...group, snapshot } };
  await changeOnce(access, ({ header, unchanged }) => {
    snapshotById(header, snapId);
    return [unchanged("rollback"), setStep("rollback", encodeValue(mark))];
  });
}

/** Carries a noted rollback out, or drops it when its group was not all ready for it. */
export async function finishRollback(access: ImageAccess): Promise<void> {
  const { scope, id, fence } = access;
  const before = await scope.header(id);
  const mark = before.rollback;
  if (mark === undefined) return;
  const wanted = mark.group === undefined || (await groupWantsRollback(scope, mark.group));
  const snapshot = wanted ? snapshotById(before, mark.snapId) : undefined;
  if (snapshot !== undefined) await copyBack(access, before, snapshot);
  await changeHeader(scope, id, fence, (view) => {
    if (view.header.rollback === undefined) return undefined;
    const back = snapshot === undefined ? [] : headerSteps(view, snapshot);
    return [view.unchanged("rollback"), ...back, removeStep("rollback")];
  });
}

function copyBack(access: ImageAccess, header: ImageHeader, snapshot: Snapshot): Promise<void> {
  const { scope, fence, progress } = access;
  // Of the larger of both sizes: what the snapshot has not goes too.
  const sizeBytes = Math.max(header.sizeBytes, snapshot.sizeBytes);
  return withWorkDevice(
    scope,
    header,
    fence,
    (device) => scope.io.rollbackImage(device, snapshot.id, progress),
    { sizeBytes, withoutParent: true },
  );
}

/** The header, too, becomes what it was. */
function headerSteps(view: HeaderView, { sizeBytes, parent }: Snapshot) {
  const { header, unchanged } = view;
  const after = { ...header, parent };
  return [
    compareStep("size", u64Value(header.sizeBytes)),
    unchanged("parent"),
    setStep("size", u64Value(sizeBytes)),
    parent === undefined ? removeStep("parent") : setStep("parent", encodeValue(parent)),
    ...detachSteps(view, after),
  ];
}
