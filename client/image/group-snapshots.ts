// Snapshots of groups: of all images as of one moment, all or none.
import { StorageError, toStorageError } from "../../common/errors.js";
import { type GroupAccess, readGroup, withGroup } from "./group-access.js";
import { GroupDirectory } from "./group-directory.js";
import { type GroupSnapshot, memberKey, memberSnapName } from "./group-record.js";
import { checkImageName } from "./image-spec.js";
import { type PausedImage, whilePaused } from "./paused-images.js";
import type { Progress, Scope } from "./scope.js";

export interface GroupSnapshotInfo {
  id: string;
  name: string;
  /** milliseconds since 1970 */
  createdAt: number;
  state: GroupSnapshot["state"];
  imageCount: number;
}

export class GroupSnapshots {
  private readonly directory: GroupDirectory;

  constructor(private readonly scope: Scope) {
    this.directory = new GroupDirectory(scope);
  }

  /** @throws not_found */
  async list(group: string): Promise<GroupSnapshotInfo[]> {
    const { snapshots } = await readGroup(this.scope, await this.directory.idOf(group));
    return snapshots.map(({ id, name, createdAt, state, members }) => ({
      ...{ id, name, createdAt, state },
      imageCount: members.length,
    }));
  }

  /** @throws not_found, already_exists, invalid_argument (no images), busy */
  async create(group: string, name: string): Promise<void> {
    checkImageName(name);
    await this.under(group, async (access) => {
      const { members, snapshots } = await readGroup(this.scope, access.id);
      if (snapshots.some((other) => other.name === name)) throw exists(group, name);
      if (members.length === 0) {
        throw new StorageError("invalid_argument", `the group ${group} has no images`, {
          remedy: `Add some: cairn group image add ${group} IMAGE`,
        });
      }
      const snapshot: GroupSnapshot = {
        ...{ id: this.scope.newId(), name, createdAt: this.scope.nowMs(), vetoes: 0 },
        state: "creating",
        members: members.map(({ pool, namespace, imageId }) => ({ pool, namespace, imageId })),
      };
      await access.setSnapshot(undefined, snapshot);
      try {
        const taken = await this.take(access, snapshot);
        await access.setSnapshot(snapshot, { ...snapshot, state: "ready", members: taken });
      } catch (thrown) {
        // Should this fail too, the next verb on the group goes on with it.
        await access.removeSnapshot(snapshot).catch(() => undefined);
        throw toStorageError(thrown);
      }
    });
  }

  /** @throws not_found */
  async remove(group: string, name: string): Promise<void> {
    await this.under(group, async (access) => {
      const snapshot = await this.find(access, group, name);
      const removing: GroupSnapshot = { ...snapshot, state: "removing" };
      await access.setSnapshot(snapshot, removing);
      await access.removeSnapshot(removing);
    });
  }

  /** @throws not_found, already_exists */
  async rename(group: string, name: string, newName: string): Promise<void> {
    checkImageName(newName);
    await this.under(group, async (access) => {
      const snapshot = await this.find(access, group, name);
      const { snapshots } = await readGroup(this.scope, access.id);
      if (snapshots.some((other) => other.name === newName)) throw exists(group, newName);
      await access.setSnapshot(snapshot, { ...snapshot, name: newName });
    });
  }

  /**
   * All images become what they were: all, or none.
   * @throws not_found; busy when the group has other images by now
   */
  async rollback(group: string, name: string, progress?: Progress): Promise<void> {
    await this.under(group, async (access) => {
      const snapshot = await this.find(access, group, name);
      await this.refuseOtherMembers(access, snapshot, group);
      await whilePaused(this.scope, snapshot.members, async (paused) => {
        // Read anew: whoever has locked the images may just have dropped marks of an earlier try.
        const now = await this.find(access, group, name);
        await this.rollBack(access, now, paused, progress);
      });
    });
  }

  /** @returns the members with the ids of their snapshots */
  private take(access: GroupAccess, snapshot: GroupSnapshot): Promise<GroupSnapshot["members"]> {
    const name = memberSnapName(snapshot);
    return whilePaused(this.scope, snapshot.members, async (paused) => {
      const members: GroupSnapshot["members"] = [];
      for (const { ref, scope, pause, change } of paused) {
        const { ref: group } = access;
        const during = pause === undefined ? {} : { pause };
        await change({ kind: "snapCreate", name, group, ...during });
        const { snapshots } = await scope.header(ref.imageId);
        const snapId = snapshots.find((other) => other.name === name)?.id;
        if (snapId === undefined) throw new StorageError("not_found", "a snapshot was removed");
        members.push({ ...ref, snapId });
      }
      return members;
    });
  }

  /** First every image has a mark; then the group says that they hold; then each carries it out. */
  private async rollBack(
    access: GroupAccess,
    snapshot: GroupSnapshot,
    paused: PausedImage[],
    progress?: Progress,
  ): Promise<void> {
    const rolling: GroupSnapshot = { ...snapshot, state: "rolling_back" };
    try {
      for (const { ref, change } of paused) {
        const member = snapshot.members.find((other) => memberKey(other) === memberKey(ref));
        const snapId = member?.snapId ?? 0;
        await change({ kind: "rollbackMark", snapId, group: access.ref, snapshot: snapshot.id });
      }
      await access.setSnapshot(snapshot, rolling);
    } catch (thrown) {
      // Not decided: each image drops its mark.
      for (const { change } of paused) await change({ kind: "settle" }).catch(() => undefined);
      throw toStorageError(thrown);
    }
    let done = 0;
    for (const { change } of paused) {
      await change({ kind: "settle" });
      done += 1;
      progress?.(done, paused.length);
    }
    await access.setSnapshot(rolling, snapshot);
  }

  private async refuseOtherMembers(
    access: GroupAccess,
    snapshot: GroupSnapshot,
    group: string,
  ): Promise<void> {
    const { members } = await readGroup(this.scope, access.id);
    const [now, then] = [members.map(memberKey).sort(), snapshot.members.map(memberKey).sort()];
    if (now.join() === then.join()) return;
    throw new StorageError("busy", `${group} has other images than when the snapshot was taken`, {
      remedy: "Add or take out images until they are the same: `cairn group image ls`.",
    });
  }

  private async find(access: GroupAccess, group: string, name: string): Promise<GroupSnapshot> {
    const { snapshots } = await readGroup(this.scope, access.id);
    const found = snapshots.find((snapshot) => snapshot.name === name);
    if (found !== undefined) return found;
    throw new StorageError("not_found", `there is no snapshot ${group}@${name}`, {
      remedy: `\`cairn group snap ls ${group}\` lists them.`,
    });
  }

  private async under<T>(group: string, run: (access: GroupAccess) => Promise<T>): Promise<T> {
    return withGroup(this.scope, await this.directory.idOf(group), run);
  }
}

const exists = (group: string, name: string) =>
  new StorageError("already_exists", `the group ${group} has a snapshot "${name}"`);
