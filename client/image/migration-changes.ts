// The steps of a migration that need exclusive access to one of its images.
import { StorageError } from "../../common/errors.js";
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import { detachSteps, finishDetach } from "./family.js";
import { featureBits, hasFeature } from "./features.js";
import type { ImageHeader } from "./header.js";
import { changeHeader, type HeaderView } from "./header-change.js";
import type { ChangeOf } from "./image-change.js";
import { withWorkDevice } from "./layout.js";
import { nextStep } from "./migration-machine.js";
import type { Migration, MigrationState } from "./migration-record.js";
import { fillMoments, hasSameSnapshots } from "./migration-snapshots.js";
import { goesTo, migrationView, sourceImage, specOf, targetRecord } from "./migration-state.js";
import { removeStep, setStep, u64Value } from "./omap-values.js";
import { finishTrim } from "./size.js";

/** The steps that set or take away the record, and the feature that older clients refuse. */
export function recordSteps({ header, unchanged }: HeaderView, record: Migration | undefined) {
  const others = header.features & ~featureBits.migrating;
  const features = record === undefined ? others : others | featureBits.migrating;
  return [
    unchanged("migration"),
    unchanged("features"),
    setStep("features", u64Value(features)),
    record === undefined ? removeStep("migration") : setStep("migration", encodeValue(record)),
  ];
}

/** @throws busy, invalid_argument: the image can't be migrated as it is */
export function refuseUnmovable(header: ImageHeader, spec: string): void {
  const refuse = (what: string, remedy: string): never => {
    throw new StorageError("busy", `${spec} ${what}`, { remedy });
  };
  const { snapshots, group, migration, features } = header;
  if (migration !== undefined) refuse("is being migrated already", "`cairn info` shows it.");
  if (group !== undefined) {
    refuse("belongs to a group", `Take it out first: cairn group image rm GROUP ${spec}`);
  }
  if (snapshots.some(({ kind }) => kind === "group")) {
    refuse("has snapshots of a group", "Remove those of the group: cairn group snap rm");
  }
  if (!hasFeature(features, "exclusive-lock")) {
    const remedy = `Enable it: cairn feature enable ${spec} exclusive-lock`;
    refuse("has not the feature exclusive-lock, without which nobody can be stopped", remedy);
  }
}

/** Nobody writes to the source any more: what front ends send goes to the target. */
export async function markSource(
  access: ImageAccess,
  { target }: ChangeOf<"migrationMark">,
): Promise<void> {
  const { scope, id, fence } = access;
  const spec = await specOf(scope, id);
  await finishTrim(access);
  const there = await scope.elsewhere(target.pool, target.namespace).headerIfAny(target.imageId);
  await access.quiesced(async () => {
    await changeHeader(scope, id, fence, (view) => {
      if (goesTo(view.header)?.imageId === target.imageId) return undefined;
      refuseUnmovable(view.header, spec);
      // They change under this lock only, which the change is guarded with.
      if (there !== undefined && !hasSameSnapshots(there, view.header)) {
        throw new StorageError("precondition_failed", `the snapshots of ${spec} have changed`);
      }
      const guards = ["snap_seq", "size", "parent", "group"].map(view.unchanged);
      return [...guards, ...recordSteps(view, { side: "source", target })];
    });
  });
}

/** Copies what the target has not yet; can be cut off anywhere, and repeated. */
export async function copyRest(access: ImageAccess): Promise<void> {
  const { scope, id } = access;
  const spec = await specOf(scope, id);
  for (;;) {
    const header = await scope.header(id);
    const step = nextStep("execute", await migrationView(scope, header), spec);
    if (step === "done") return;
    if (step === "takeBackAbort") {
      await setState(access, "aborting", "executed");
      continue;
    }
    if (step === "beginCopy") {
      await setState(access, "prepared", "executing");
      continue;
    }
    // Fills only what is absent, so front ends may write meanwhile.
    await fillTarget(access, header);
    await access.quiesced(() => setState(access, "executing", "executed"));
    await finishDetach(access);
  }
}

async function fillTarget(access: ImageAccess, header: ImageHeader): Promise<void> {
  const { scope, fence, progress } = access;
  const record = targetRecord(header);
  const source = record && (await sourceImage(scope, record));
  if (source !== undefined && header.snapshots.length > 0) {
    return fillMoments(access, header, source);
  }
  await withWorkDevice(scope, header, fence, (device) => scope.io.flattenImage(device, progress), {
    signal: access.wantedElsewhere,
  });
}

function setState({ scope, id, fence }: ImageAccess, from: MigrationState, to: MigrationState) {
  return changeHeader(scope, id, fence, (view) => {
    const record = targetRecord(view.header);
    if (record?.state !== from) return undefined;
    const leaving = to === "executed" && view.header.parent !== undefined;
    const after = { ...view.header, parent: undefined };
    return [
      ...recordSteps(view, { ...record, state: to }),
      ...(leaving ? [view.unchanged("parent"), removeStep("parent")] : []),
      ...(leaving ? detachSteps(view, after) : []),
    ];
  });
}
