// What the headers say of a migration, and what may not be done with an image that takes part.
import { StorageError } from "../../common/errors.js";
import type { ImageHeader } from "./header.js";
import { watchHeader } from "./header-watch.js";
import { type MigrationView, requireSource, type SourceView } from "./migration-machine.js";
import { type MigrationTarget, needsSource } from "./migration-record.js";
import { hasCode } from "./omap-values.js";
import type { ImageRef } from "./references.js";
import type { Scope } from "./scope.js";

/** The record of an image that is the target of a migration. */
export function targetRecord({ migration }: ImageHeader): MigrationTarget | undefined {
  return migration?.side === "target" ? migration : undefined;
}

/** Where an image goes that is the source of a migration. */
export function goesTo({ migration }: ImageHeader): ImageRef | undefined {
  return migration?.side === "source" ? migration.target : undefined;
}

/** Its header, and where it is; undefined when it is gone. */
export async function sourceImage(
  scope: Scope,
  { source }: MigrationTarget,
): Promise<{ scope: Scope; header: ImageHeader } | undefined> {
  if (source.kind !== "image") return undefined;
  const { pool, namespace, imageId } = source.image;
  try {
    const there = scope.elsewhere(pool, namespace);
    const header = await there.headerIfAny(imageId);
    return header === undefined ? undefined : { scope: there, header };
  } catch (thrown) {
    if (hasCode(thrown, "not_found")) return undefined;
    throw thrown;
  }
}

/** The source of a migration that has not ended, of its target. */
export async function migratedFrom(scope: Scope, header: ImageHeader) {
  const record = targetRecord(header);
  const source = record && (await sourceImage(scope, record));
  const isOurs = source !== undefined && goesTo(source.header)?.imageId === header.id;
  return isOurs ? source : undefined;
}

export async function migrationView(scope: Scope, header: ImageHeader): Promise<MigrationView> {
  const record = targetRecord(header);
  const of = record && (await sourceImage(scope, record));
  const clones = { source: of !== undefined && hasClones(of.header), target: hasClones(header) };
  if (record === undefined) return { target: undefined, source: "none", clones };
  const source = record.source.kind === "image" ? await sourceView(scope, header.id, of) : "none";
  return { target: record.state, source, clones };
}

async function sourceView(
  scope: Scope,
  id: string,
  source: { scope: Scope; header: ImageHeader } | undefined,
): Promise<SourceView> {
  if (source === undefined) return "gone";
  const target = goesTo(source.header);
  if (target === undefined) return "free";
  const ours = target.imageId === id && target.pool === scope.pool.id;
  if (!ours) return "another's";
  const name = await source.scope.directory.nameOf(source.header.id);
  return name === undefined ? "going" : "ours";
}

const hasClones = ({ snapshots }: ImageHeader) => snapshots.some(({ children }) => children > 0);

/** That the target of a migration may be read and written. @throws busy, not_found */
export async function requireUsable(scope: Scope, header: ImageHeader): Promise<void> {
  if (targetRecord(header) === undefined) return;
  requireSource(await migrationView(scope, header), await specOf(scope, header.id));
}

/** Shows that somebody reads the source of a migration. Returns the end; undefined: not needed. */
export async function watchSource(
  scope: Scope,
  header: ImageHeader,
): Promise<(() => Promise<void>) | undefined> {
  const record = targetRecord(header);
  if (record === undefined || !needsSource(record)) return undefined;
  const source = await sourceImage(scope, record);
  return source && watchHeader(source.scope, source.header.id, async () => undefined);
}

/** "rbd/disk1", or its id when it has no name. */
export async function specOf(scope: Scope, id: string): Promise<string> {
  return scope.prefix + ((await scope.directory.nameOf(id)) ?? id);
}

/** @throws busy when the image is the source of a migration */
export async function refuseSource(scope: Scope, header: ImageHeader): Promise<void> {
  const target = goesTo(header);
  if (target === undefined) return;
  const there = await specOf(scope.elsewhere(target.pool, target.namespace), target.imageId);
  const spec = await specOf(scope, header.id);
  throw new StorageError("busy", `${spec} is being migrated`, {
    remedy:
      `Use ${there}, which shows the same; \`cairn migration commit ${there}\` ends the ` +
      `migration, \`cairn migration abort ${spec}\` undoes it.`,
  });
}

/** @throws busy when the image is the source of a migration, or a target that needs its source */
export async function refuseMigrating(scope: Scope, header: ImageHeader): Promise<void> {
  await refuseSource(scope, header);
  const record = targetRecord(header);
  if (record === undefined || record.state === "executed") return;
  await requireUsable(scope, header);
  const spec = await specOf(scope, header.id);
  throw new StorageError("busy", `the migration to ${spec} is ${record.state}, and not executed`, {
    remedy: `First: cairn migration execute ${spec}`,
  });
}

/** Before an image goes. @throws busy when it takes part in a migration, on whatever side */
export async function refuseInMigration(scope: Scope, header: ImageHeader): Promise<void> {
  await refuseSource(scope, header);
  if (targetRecord(header) === undefined) return;
  const spec = await specOf(scope, header.id);
  throw new StorageError("busy", `${spec} is the target of a migration`, {
    remedy: `End it with cairn migration commit ${spec}, or undo it with cairn migration abort.`,
  });
}
