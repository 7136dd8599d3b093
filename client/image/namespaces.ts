// The namespaces of a pool: each with a directory of its own, so images, trash and groups of one
// can't be seen from another. docs/format/image.md
//
// Two objects change, one after the other; the state in the pool's list says how far it has come,
// and the same verb again carries on from there.
import { StorageError } from "../../common/errors.js";
import { namePrefix } from "./directory.js";
import {
  directoryObject,
  listKeys,
  type NamespaceState,
  namespaceKey,
} from "./directory-object.js";
import { checkImageName } from "./image-spec.js";
import { compareStep, hasCode, removeStep, setStep, textValue, valueText } from "./omap-values.js";
import type { Scope } from "./scope.js";

export const namespaceListObject = "rbd_namespaces";

type ListState = NamespaceState | "creating";

export interface NamespaceInfo {
  name: string;
  /** other than ready: the verb that makes or removes it was cut off, or is at it */
  state: ListState;
}

export class Namespaces {
  /** @param scope of the pool itself */
  constructor(private readonly scope: Scope) {}

  async list(): Promise<NamespaceInfo[]> {
    const { io, pool } = this.scope;
    const { omap } = await listKeys(io, [pool.id, namespaceListObject], namePrefix);
    return omap.map(([key, value]) => ({
      name: key.slice(namePrefix.length),
      state: valueText(value, key) as ListState,
    }));
  }

  /** @throws invalid_argument, already_exists */
  async create(name: string): Promise<void> {
    checkImageName(name);
    const before = await this.stateOf(name);
    if (before === "ready") {
      throw new StorageError("already_exists", `namespace ${this.scope.pool.name}/${name} exists`);
    }
    if (before !== "creating") await this.setState(name, before, "creating");
    await this.setMarker(name, [setStep(namespaceKey, textValue("ready"))]);
    await this.setState(name, "creating", "ready");
  }

  /** @throws not_found; busy when it has images, trash or groups */
  async remove(name: string): Promise<void> {
    const before = await this.stateOf(name);
    if (before === undefined) throw this.missing(name);
    if (before !== "removing") await this.setState(name, before, "removing");
    await this.closeMarker(name);
    const held = await this.content(name);
    if (held !== undefined) {
      await this.setMarker(name, [setStep(namespaceKey, textValue("ready"))]);
      await this.setState(name, "removing", "ready");
      throw new StorageError("busy", `namespace ${this.scope.pool.name}/${name} has ${held}`, {
        remedy: "Remove its images and groups and purge its trash first.",
      });
    }
    const guard = compareStep(namespaceKey, textValue("removing"));
    await this.setMarker(name, [guard, { code: "remove" }]).catch((thrown: unknown) => {
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
    });
    await this.setState(name, "removing", undefined);
  }

  private async stateOf(name: string): Promise<ListState | undefined> {
    return (await this.list()).find((namespace) => namespace.name === name)?.state;
  }

  private async setState(
    name: string,
    from: ListState | undefined,
    to: ListState | undefined,
  ): Promise<void> {
    const key = namePrefix + name;
    try {
      await this.scope.io.operate(this.scope.pool.id, namespaceListObject, [
        compareStep(key, from === undefined ? undefined : textValue(from)),
        to === undefined ? removeStep(key) : setStep(key, textValue(to)),
      ]);
    } catch (thrown) {
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
      throw new StorageError("busy", `somebody else makes or removes the namespace ${name} now`);
    }
  }

  /** From here on nothing is added to it. */
  private async closeMarker(name: string): Promise<void> {
    const [ready, removing] = [textValue("ready"), textValue("removing")];
    try {
      await this.setMarker(name, [
        compareStep(namespaceKey, ready),
        setStep(namespaceKey, removing),
      ]);
    } catch (thrown) {
      // It is closed already, or was never opened.
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
    }
  }

  private async setMarker(
    name: string,
    steps: Parameters<Scope["io"]["operate"]>[2],
  ): Promise<void> {
    await this.scope.io.operate(this.scope.pool.id, directoryObject(name), steps);
  }

  /** What is in it, for people; undefined: nothing. */
  private async content(name: string): Promise<string | undefined> {
    const { io, pool } = this.scope;
    const { omap } = await listKeys(io, [pool.id, directoryObject(name)], "");
    const counts = {
      images: 0,
      "images in the trash": 0,
      groups: 0,
      "images being made or removed": 0,
    };
    for (const [key] of omap) {
      if (key.startsWith(namePrefix)) counts.images += 1;
      else if (key.startsWith("trash_")) counts["images in the trash"] += 1;
      else if (key.startsWith("group_")) counts.groups += 1;
      else if (key.startsWith("pending_")) counts["images being made or removed"] += 1;
    }
    const found = Object.entries(counts).filter(([, count]) => count > 0);
    if (found.length > 0) return found.map(([what, count]) => `${count} ${what}`).join(", ");
    return omap.some(([key]) => key !== namespaceKey) ? "something left in it" : undefined;
  }

  private missing(name: string): StorageError {
    const { pool } = this.scope;
    return new StorageError("not_found", `there is no namespace ${pool.name}/${name}`, {
      remedy: `\`cairn namespace ls ${pool.name}\` lists them.`,
    });
  }
}
