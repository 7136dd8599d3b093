// A group under its lock: one verb at a time changes it, and finishes first what an earlier one
// that was cut off has left.
import { StorageError } from "../../common/errors.js";
import type { NativeFence, NativeStep } from "../../native/binding.js";
import { encodeValue } from "../../proto/encoding.js";
import { listKeys } from "./directory-object.js";
import { makeChange } from "./exclusive.js";
import {
  decodeGroupSnapshot,
  decodeMember,
  encodeGroupSnapshot,
  encodeMember,
  type GroupMember,
  type GroupSnapshot,
  groupObject,
  groupSnapKey,
  groupSnapPrefix,
  memberKey,
  memberPrefix,
  memberSnapName,
} from "./group-record.js";
import { headerObject } from "./header.js";
import { lockTokenKey } from "./lock-record.js";
import { lockForManagement } from "./management-lock.js";
import { compareStep, hasCode, removeStep, setStep, u64Value } from "./omap-values.js";
import type { GroupRef, ImageRef } from "./references.js";
import type { Scope } from "./scope.js";

/** What a group has. */
export async function readGroup(
  { io, pool }: Scope,
  id: string,
): Promise<{ members: GroupMember[]; snapshots: GroupSnapshot[] }> {
  const at: [number, string] = [pool.id, groupObject(id)];
  const members = await listKeys(io, at, memberPrefix);
  const snapshots = await listKeys(io, at, groupSnapPrefix);
  return {
    members: members.omap.map(([, value]) => decodeMember(value)),
    snapshots: snapshots.omap
      .map(([, value]) => decodeGroupSnapshot(value))
      .sort((a, b) => a.createdAt - b.createdAt),
  };
}

/** @throws busy when another verb works on the group; not_found */
export async function withGroup<T>(
  scope: Scope,
  id: string,
  run: (group: GroupAccess) => Promise<T>,
): Promise<T> {
  const address = { pool: scope.pool.id, id, object: groupObject(id) };
  const lock = await lockForManagement(scope.lockPorts(), address).catch((thrown: unknown) => {
    if (!hasCode(thrown, "busy")) throw thrown;
    throw new StorageError("busy", "another command works on the group now", {
      remedy: "Try again when it is done; if its client is gone, in some seconds.",
    });
  });
  try {
    const group = new GroupAccess(scope, id, { key: id, token: lock.token });
    await group.finish();
    return await run(group);
  } finally {
    await lock.close();
  }
}

export class GroupAccess {
  constructor(
    readonly scope: Scope,
    readonly id: string,
    private readonly fence: NativeFence,
  ) {}

  get ref(): GroupRef {
    return { pool: this.scope.pool.id, groupId: this.id };
  }

  /** @throws fenced when the lock is somebody else's by now; precondition_failed */
  async change(steps: NativeStep[]): Promise<void> {
    await this.scope.io.operate(this.scope.pool.id, groupObject(this.id), [
      { code: "assertExists" },
      compareStep(lockTokenKey, u64Value(this.fence.token)),
      ...steps,
    ]);
  }

  setMember(member: GroupMember): Promise<void> {
    return this.change([setStep(memberKey(member), encodeMember(member))]);
  }

  dropMember(member: ImageRef): Promise<void> {
    return this.change([removeStep(memberKey(member))]);
  }

  /** @param from as it was read; undefined: there was none */
  setSnapshot(from: GroupSnapshot | undefined, to: GroupSnapshot): Promise<void> {
    const key = groupSnapKey(to.id);
    const before = from === undefined ? undefined : encodeGroupSnapshot(from);
    return this.change([compareStep(key, before), setStep(key, encodeGroupSnapshot(to))]);
  }

  dropSnapshot({ id }: GroupSnapshot): Promise<void> {
    return this.change([removeStep(groupSnapKey(id))]);
  }

  /** Carries on from where a verb was cut off. */
  async finish(): Promise<void> {
    const { members, snapshots } = await readGroup(this.scope, this.id);
    for (const member of members) {
      if (member.state === "adding") await this.finishAdding(member);
      else if (member.state === "removing") await this.finishRemoving(member);
    }
    for (const snapshot of snapshots) {
      if (snapshot.state === "rolling_back") await this.finishRollback(snapshot);
      else if (snapshot.state !== "ready") await this.removeSnapshot(snapshot);
    }
  }

  /** The image gets to know its group, unless it is gone or another's. @throws busy */
  async finishAdding(member: GroupMember): Promise<void> {
    const value = encodeValue(this.ref);
    try {
      await this.scope.io.operate(member.pool, headerObject(member.imageId), [
        { code: "assertExists" },
        compareStep("group", undefined),
        setStep("group", value),
      ]);
    } catch (thrown) {
      const isGone = hasCode(thrown, "not_found");
      if (!isGone && !hasCode(thrown, "precondition_failed")) throw thrown;
      const group = isGone ? undefined : (await this.headerOf(member)).group;
      if (group?.groupId !== this.id) {
        await this.dropMember(member);
        return;
      }
    }
    await this.setMember({ ...member, state: "attached" });
  }

  async finishRemoving(member: GroupMember): Promise<void> {
    try {
      await this.scope.io.operate(member.pool, headerObject(member.imageId), [
        { code: "assertExists" },
        compareStep("group", encodeValue(this.ref)),
        removeStep("group"),
      ]);
    } catch (thrown) {
      // The image is gone, or knows no group of that kind any more.
      if (!hasCode(thrown, "not_found") && !hasCode(thrown, "precondition_failed")) throw thrown;
    }
    await this.dropMember(member);
  }

  /** Removes the snapshots of all images, as far as they exist, then the record. */
  async removeSnapshot(snapshot: GroupSnapshot): Promise<void> {
    const name = memberSnapName(snapshot);
    for (const member of snapshot.members) {
      const scope = this.scope.elsewhere(member.pool, member.namespace);
      const header = await scope.headerIfAny(member.imageId);
      const found = header?.snapshots.find((other) => other.name === name);
      if (found === undefined) continue;
      // One whose removal was cut off is carried on with.
      const { id: snapId, state } = found;
      const rest = { kind: "settle" } as const;
      const removal = { kind: "snapRemove", snapId, group: true } as const;
      await makeChange(scope, member.imageId, state === "ready" ? removal : rest);
    }
    await this.dropSnapshot(snapshot);
  }

  /** Those images that still have the mark are rolled back; the others were. */
  private async finishRollback(snapshot: GroupSnapshot): Promise<void> {
    for (const member of snapshot.members) {
      const scope = this.scope.elsewhere(member.pool, member.namespace);
      const header = await scope.headerIfAny(member.imageId);
      if (header?.rollback === undefined) continue;
      await makeChange(scope, member.imageId, { kind: "settle" });
    }
    await this.setSnapshot(snapshot, { ...snapshot, state: "ready" });
  }

  private headerOf({ pool, namespace, imageId }: ImageRef) {
    return this.scope.elsewhere(pool, namespace).header(imageId);
  }
}
