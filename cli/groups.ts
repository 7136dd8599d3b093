// `cairn group ...`: groups of images, which are snapshotted together.
import { StorageError } from "../common/errors.js";
import { imagesOf, nameOf, withImageProgress, withImages } from "./image-access.js";
import type { ClusterOptions, ProgressOptions } from "./options.js";
import { fieldsText, printResult, table, timeText } from "./output.js";
import { type ImageAddress, type ImageOrId, imageKey, type SnapAddress } from "./spec.js";
import type { PoolAddress } from "./table/slots.js";

type LongFlags = ClusterOptions & ProgressOptions;

export async function createAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  await withImages(flags, spec, (images) => images.groups.create(spec.image));
  printResult(flags, groupValue(spec), () => `created the group ${nameOf(spec)}`);
}

const groupValue = ({ pool, namespace, image }: ImageAddress) => ({
  pool,
  namespace,
  group: image,
});

export async function listAction(place: PoolAddress, flags: ClusterOptions): Promise<void> {
  const list = await withImages(flags, place, (images) => images.groups.list());
  const names = list.map(([name]) => name);
  printResult(flags, names, () => names.join("\n"));
}

export async function infoAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const info = await withImages(flags, spec, async ({ groups }) => {
    const id = (await groups.list()).find(([name]) => name === spec.image)?.[1];
    if (id === undefined) {
      throw new StorageError("not_found", `there is no group ${nameOf(spec)}`, {
        remedy: `\`cairn group ls ${spec.pool}\` lists the groups.`,
      });
    }
    const [members, snapshots] = await Promise.all([
      groups.images(spec.image),
      groups.snapshots.list(spec.image),
    ]);
    return { ...groupValue(spec), id, images: members.length, snapshots: snapshots.length };
  });
  printResult(flags, info, () =>
    fieldsText([
      ["group", nameOf(spec)],
      ["id", info.id],
      ["images", String(info.images)],
      ["snapshots", String(info.snapshots)],
    ]),
  );
}

export async function removeAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  await withImages(flags, spec, (images) => images.groups.remove(spec.image));
  const value = { ...groupValue(spec), removed: true };
  printResult(flags, value, () => `removed the group ${nameOf(spec)}; its images stay`);
}

export async function renameAction(
  from: ImageAddress,
  to: ImageAddress,
  flags: ClusterOptions,
): Promise<void> {
  if (from.pool !== to.pool || from.namespace !== to.namespace) {
    throw new StorageError("invalid_argument", "a group stays in its pool and namespace");
  }
  await withImages(flags, from, (images) => images.groups.rename(from.image, to.image));
  printResult(flags, groupValue(to), () => `${nameOf(from)} is ${nameOf(to)} now`);
}

/** `cairn group image add` or `rm`. */
export const memberAction =
  (change: "add" | "rm") =>
  async (group: ImageAddress, image: ImageOrId, flags: ClusterOptions): Promise<void> => {
    await withImages(flags, group, async ({ groups }, client) => {
      const { scope } = await imagesOf(client, image);
      if (change === "add") await groups.addImage(group.image, { scope, name: image.image });
      else await groups.removeImage(group.image, { scope, name: imageKey(image) });
    });
    const value = { ...groupValue(group), image: nameOf(image), change };
    printResult(flags, value, () =>
      change === "add"
        ? `${nameOf(image)} belongs to the group ${nameOf(group)}`
        : `${nameOf(image)} does not belong to the group ${nameOf(group)} any more`,
    );
  };

export async function membersAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const members = await withImages(flags, spec, (images) => images.groups.images(spec.image));
  printResult(flags, members, () =>
    members
      .map(({ pool, namespace, name, id }) => nameOf({ pool, namespace, image: name ?? id }))
      .join("\n"),
  );
}

export async function snapCreateAction(spec: SnapAddress, flags: ClusterOptions): Promise<void> {
  await withImages(flags, spec, (images) => images.groups.snapshots.create(spec.image, spec.snap));
  printResult(flags, snapValue(spec), () => `created the group snapshot ${nameOf(spec)}`);
}

const snapValue = (spec: SnapAddress) => ({ ...groupValue(spec), snapshot: spec.snap });

export async function snapListAction(spec: ImageAddress, flags: ClusterOptions): Promise<void> {
  const list = await withImages(flags, spec, (images) => images.groups.snapshots.list(spec.image));
  printResult(flags, list, () =>
    table(
      [
        { title: "NAME" },
        { title: "STATUS" },
        { title: "IMAGES", align: "right" },
        { title: "TIMESTAMP" },
      ],
      list.map(({ name, state, imageCount, createdAt }) => [
        name,
        state,
        imageCount,
        timeText(createdAt),
      ]),
    ),
  );
}

export async function snapInfoAction(spec: SnapAddress, flags: ClusterOptions): Promise<void> {
  const list = await withImages(flags, spec, (images) => images.groups.snapshots.list(spec.image));
  const info = list.find(({ name }) => name === spec.snap);
  if (info === undefined) {
    throw new StorageError("not_found", `there is no snapshot ${nameOf(spec)}`, {
      remedy: "`cairn group snap ls` lists them.",
    });
  }
  printResult(flags, info, () =>
    fieldsText([
      ["snapshot", nameOf(spec)],
      ["id", info.id],
      ["state", info.state],
      ["images", String(info.imageCount)],
      ["taken", timeText(info.createdAt)],
    ]),
  );
}

export async function snapRemoveAction(spec: SnapAddress, flags: ClusterOptions): Promise<void> {
  await withImages(flags, spec, (images) => images.groups.snapshots.remove(spec.image, spec.snap));
  const value = { ...snapValue(spec), removed: true };
  printResult(flags, value, () => `removed the group snapshot ${nameOf(spec)}`);
}

export async function snapRenameAction(
  spec: SnapAddress,
  newName: string,
  flags: ClusterOptions,
): Promise<void> {
  await withImages(flags, spec, (images) =>
    images.groups.snapshots.rename(spec.image, spec.snap, newName),
  );
  const to = { ...spec, snap: newName };
  printResult(flags, snapValue(to), () => `${nameOf(spec)} is ${nameOf(to)} now`);
}

export async function snapRollbackAction(spec: SnapAddress, flags: LongFlags): Promise<void> {
  await withImageProgress(flags, `rolling ${spec.image} back`, spec, (images, progress) =>
    images.groups.snapshots.rollback(spec.image, spec.snap, progress),
  );
  const value = { ...snapValue(spec), rolledBack: true };
  printResult(flags, value, () => `rolled back to ${nameOf(spec)}`);
}
