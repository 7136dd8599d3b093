// Groups of images, which are snapshotted together.
import { StorageError, toStorageError } from "../../common/errors.js";
import { readGroup, withGroup } from "./group-access.js";
import { GroupDirectory } from "./group-directory.js";
import { type GroupMember, groupObject, memberKey } from "./group-record.js";
import { GroupSnapshots } from "./group-snapshots.js";
import { checkImageName } from "./image-spec.js";
import { type ImageKey, keyText } from "./keys.js";
import { pendingStaleMs } from "./making.js";
import { refuseInMigration } from "./migration-state.js";
import { hasCode, setStep, u64Value } from "./omap-values.js";
import type { Scope } from "./scope.js";

export interface GroupImageInfo {
  pool: string;
  namespace: string;
  /** undefined: it is being removed */
  name: string | undefined;
  id: string;
  state: GroupMember["state"];
}

export class Groups {
  readonly snapshots: GroupSnapshots;
  private readonly directory: GroupDirectory;

  constructor(private readonly scope: Scope) {
    this.directory = new GroupDirectory(scope);
    this.snapshots = new GroupSnapshots(scope);
  }

  /** Names with ids, by name. */
  list(): Promise<[name: string, id: string][]> {
    return this.directory.names();
  }

  /** @throws invalid_argument, already_exists */
  async create(name: string): Promise<void> {
    checkImageName(name);
    await this.clearPending();
    const id = this.scope.newId();
    await this.directory.reserve(id, name);
    try {
      await this.scope.io.operate(this.scope.pool.id, groupObject(id), [
        { code: "assertAbsent" },
        setStep("created", u64Value(this.scope.nowMs())),
      ]);
      await this.directory.publish(id, name);
    } catch (thrown) {
      await this.clear(id).catch(() => undefined);
      throw toStorageError(thrown);
    }
  }

  /** Its images stay; its snapshots go. @throws not_found, busy */
  async remove(name: string): Promise<void> {
    await this.clearPending();
    const id = await this.directory.idOf(name);
    // Nobody works on it: its name goes only then.
    await withGroup(this.scope, id, () => this.directory.unpublish(id, name));
    await this.clear(id);
  }

  /** @throws not_found, already_exists, invalid_argument */
  async rename(name: string, newName: string): Promise<void> {
    checkImageName(newName);
    const id = await this.directory.idOf(name);
    if (name !== newName) await this.directory.rename(id, name, newName);
  }

  /** @throws not_found */
  async images(group: string): Promise<GroupImageInfo[]> {
    const { members } = await readGroup(this.scope, await this.directory.idOf(group));
    return Promise.all(
      members.map(async ({ pool, namespace, imageId, state }) => {
        const scope = this.scope.elsewhere(pool, namespace);
        const name = await scope.directory.nameOf(imageId);
        return { pool: scope.pool.name, namespace, name, id: imageId, state };
      }),
    );
  }

  /** @param image in this pool or another. @throws not_found; busy when it belongs to a group */
  async addImage(group: string, image: { scope: Scope; name: string }): Promise<void> {
    const imageId = await image.scope.idOf(image.name);
    const header = await image.scope.header(imageId);
    await refuseInMigration(image.scope, header);
    const id = await this.directory.idOf(group);
    const already = new StorageError("busy", `${image.name} belongs to a group already`, {
      remedy: "Take it out of that first: `cairn group image rm`.",
    });
    if (header.group !== undefined) throw already;
    await withGroup(this.scope, id, async (access) => {
      const member: GroupMember = { ...image.scope.refOf(imageId), state: "adding" };
      await access.setMember(member);
      await access.finishAdding(member);
      const { members } = await readGroup(this.scope, id);
      if (!members.some((other) => memberKey(other) === memberKey(member))) throw already;
    });
  }

  /** @throws not_found; busy when a snapshot of the group has it */
  async removeImage(group: string, image: { scope: Scope; name: ImageKey }): Promise<void> {
    const imageId = await image.scope.idOf(image.name);
    const key = memberKey(image.scope.refOf(imageId));
    const name = keyText(image.name);
    await withGroup(this.scope, await this.directory.idOf(group), async (access) => {
      const { members, snapshots } = await readGroup(this.scope, access.id);
      const member = members.find((other) => memberKey(other) === key);
      if (member === undefined) {
        throw new StorageError("not_found", `${name} does not belong to ${group}`, {
          remedy: `\`cairn group image ls ${group}\` lists its images.`,
        });
      }
      const holding = snapshots.find(({ members: of }) => of.some((m) => memberKey(m) === key));
      if (holding !== undefined) {
        throw new StorageError("busy", `the snapshot ${group}@${holding.name} has ${name}`, {
          remedy: `Remove it first: cairn group snap rm ${group}@${holding.name}`,
        });
      }
      const removing: GroupMember = { ...member, state: "removing" };
      await access.setMember(removing);
      await access.finishRemoving(removing);
    });
  }

  /** Clears away groups whose making or removal was cut off. */
  private async clearPending(): Promise<void> {
    const nowMs = this.scope.nowMs();
    for (const { id, state, refreshedAt } of await this.directory.pending()) {
      if (state === "removing" || nowMs - refreshedAt > pendingStaleMs) await this.clear(id);
    }
  }

  /** Takes a group without a name away. Can be repeated after a crash anywhere. */
  private async clear(id: string): Promise<void> {
    try {
      await withGroup(this.scope, id, async (access) => {
        const { members, snapshots } = await readGroup(this.scope, id);
        for (const snapshot of snapshots) await access.removeSnapshot(snapshot);
        for (const member of members) await access.finishRemoving(member);
        await access.change([{ code: "remove" }]);
      });
    } catch (thrown) {
      if (!hasCode(thrown, "not_found")) throw thrown;
    }
    await this.directory.forget(id);
  }
}
