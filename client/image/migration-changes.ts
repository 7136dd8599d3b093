// The steps of a migration that need exclusive access to one of its images.
import { StorageError } from "../../common/errors.js";
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import { featureBits, hasFeature } from "./features.js";
import type { ImageHeader } from "./header.js";
import { changeHeader, type HeaderView } from "./header-change.js";
import type { ChangeOf } from "./image-change.js";
import { withWorkDevice } from "./layout.js";
import { nextStep } from "./migration-machine.js";
import type { Migration, MigrationState } from "./migration-record.js";
import { goesTo, migrationView, specOf, targetRecord } from "./migration-state.js";
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
  if (snapshots.length > 0) {
    const deep = "or, while it is not in use, copy it with them: cairn deep cp";
    refuse("has snapshots, which do not move", `Remove them: cairn snap purge ${spec}; ${deep}`);
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
  await access.quiesced(() =>
    changeHeader(scope, id, fence, (view) => {
      if (goesTo(view.header)?.imageId === target.imageId) return undefined;
      refuseUnmovable(view.header, spec);
      const guards = ["snap_seq", "size", "parent", "group"].map(view.unchanged);
      return [...guards, ...recordSteps(view, { side: "source", target })];
    }),
  );
}

/** Copies what the target has not yet; can be cut off anywhere, and repeated. */
export async function copyRest(access: ImageAccess): Promise<void> {
  const { scope, id, fence, progress } = access;
  const spec = await specOf(scope, id);
  for (;;) {
    const header = await scope.header(id);
    const step = nextStep("execute", await migrationView(scope, header), spec);
    if (step === "done") return;
    if (step === "beginCopy") {
      await setState(access, "prepared", "executing");
      continue;
    }
    // Fills only what is absent, so front ends may write meanwhile.
    await withWorkDevice(scope, header, fence, (device) => scope.io.flattenImage(device, progress));
    await access.quiesced(() => setState(access, "executing", "executed"));
  }
}

function setState({ scope, id, fence }: ImageAccess, from: MigrationState, to: MigrationState) {
  return changeHeader(scope, id, fence, (view) => {
    const record = targetRecord(view.header);
    if (record?.state !== from) return undefined;
    return recordSteps(view, { ...record, state: to });
  });
}
