// What must hold of the objects of a pool when every verb has been carried through: that nothing is
// half made, nothing is lost from sight, and the two sides of every tie agree.
import { decodeValue } from "../../proto/encoding.js";
import { decodeGroupSnapshot, decodeMember } from "../image/group-record.js";
import { decodeHeader, type ImageHeader } from "../image/header.js";
import type { ImageRef } from "../image/references.js";
import type { FakePool } from "./fake-pool.js";

type Values = ReadonlyMap<string, Uint8Array>;
const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);

/** All that is wrong, as sentences. */
export function violations({ objects, data }: FakePool): string[] {
  const found: string[] = [];
  const directories = [...objects].filter(([name]) => name.endsWith("rbd_directory"));
  const known = new Map<string, string>();
  for (const [name, values] of directories) checkDirectory(name, values, known, found);
  const headers = new Map<string, ImageHeader>();
  for (const [name, values] of objects) {
    const id = /rbd_header\.([0-9a-f]{16})$/.exec(name)?.[1];
    if (id !== undefined) headers.set(id, decodeHeader(id, [...values]));
  }
  for (const id of headers.keys()) if (!known.has(id)) found.push(`header ${id} is nobody's`);
  for (const id of known.keys()) if (!headers.has(id)) found.push(`image ${id} has no header`);
  for (const header of headers.values()) checkHeader(header, headers, objects, found);
  for (const [name, values] of objects) {
    const id = /rbd_data\.([0-9a-f]{16})\./.exec(name)?.[1];
    const header = headers.get(id ?? "");
    if (id !== undefined && header === undefined) found.push(`${name} is of no image`);
    const layers = JSON.parse(text(values.get("layers")) || "[]") as { snaps: number[] }[];
    for (const snap of layers.flatMap(({ snaps }) => snaps)) {
      if (data.removed.has(snap)) found.push(`${name} keeps the removed snapshot ${snap}`);
      if (!header?.snapshots.some((snapshot) => snapshot.id === snap)) {
        found.push(`${name} has a layer of ${snap}, which is no snapshot`);
      }
    }
  }
  checkGroups(objects, headers, found);
  checkNamespaces(objects, found);
  return found;
}

function checkDirectory(
  name: string,
  values: Values,
  known: Map<string, string>,
  found: string[],
): void {
  const claim = (id: string, how: string) => {
    if (known.has(id)) found.push(`${id} is ${known.get(id)} and ${how}`);
    known.set(id, how);
  };
  for (const [key, value] of values) {
    const [, kind = "", rest = ""] = /^([a-z]+)_(.*)$/.exec(key) ?? [];
    if (kind === "name") {
      claim(text(value), "named");
      if (text(values.get(`id_${text(value)}`)) !== rest) found.push(`${name}: ${key} is alone`);
    } else if (kind === "id") {
      if (text(values.get(`name_${text(value)}`)) !== rest) found.push(`${name}: ${key} is alone`);
    } else if (kind === "trash") claim(rest, "in the trash");
    else if (kind === "pending") found.push(`${name}: ${rest} is pending`);
    else if (kind === "grouppending") found.push(`${name}: group ${rest} is pending`);
  }
}

function checkHeader(
  header: ImageHeader,
  headers: ReadonlyMap<string, ImageHeader>,
  objects: ReadonlyMap<string, Values>,
  found: string[],
): void {
  const { id, snapshots, parent, migration } = header;
  const values = headerValues(objects, id);
  if (header.trimEndBytes !== undefined) found.push(`${id} is being trimmed`);
  if (header.rollback !== undefined) found.push(`${id} is being rolled back`);
  if (header.detaching !== undefined) found.push(`${id} is leaving its parent`);
  for (const snapshot of snapshots) {
    const what = `${id}@${snapshot.name}`;
    const prefix = `child_${snapshot.id.toString(16).padStart(16, "0")}_`;
    const children = [...(values ?? [])].filter(([key]) => key.startsWith(prefix));
    if (snapshot.state !== "ready") found.push(`${what} is being removed`);
    // While its image is migrated it is kept: the other image shows it, or has clones of it.
    const isKept = snapshot.source !== undefined || migration?.side === "source";
    if (snapshot.kind === "trash" && snapshot.children === 0 && !isKept) {
      found.push(`${what} has no clone`);
    }
    if (children.length !== snapshot.children) found.push(`${what} miscounts its clones`);
    for (const [key, value] of children) {
      const { imageId } = decodeValue(value) as ImageRef;
      const child = headers.get(imageId);
      const parents = [child?.parent, ...(child?.snapshots.map((of) => of.parent) ?? [])];
      if (!parents.some((ref) => ref?.imageId === id && ref.snapId === snapshot.id)) {
        found.push(`${what} has ${key}, who knows nothing of it`);
      }
    }
  }
  for (const ref of [parent, ...snapshots.map((snapshot) => snapshot.parent)]) {
    if (ref === undefined) continue;
    const snapshot = headers
      .get(ref.imageId)
      ?.snapshots.find(({ id: snap }) => snap === ref.snapId);
    if (snapshot === undefined) found.push(`the parent of ${id} is gone`);
    const key = `child_${ref.snapId.toString(16).padStart(16, "0")}_`;
    const keys = [...(headerValues(objects, ref.imageId)?.keys() ?? [])];
    if (!keys.some((other) => other.startsWith(key) && other.endsWith(id))) {
      found.push(`the parent of ${id} does not count it`);
    }
  }
}

function headerValues(objects: ReadonlyMap<string, Values>, id: string): Values | undefined {
  return [...objects].find(([name]) => name.endsWith(`rbd_header.${id}`))?.[1];
}

function checkGroups(
  objects: ReadonlyMap<string, Values>,
  headers: ReadonlyMap<string, ImageHeader>,
  found: string[],
): void {
  const directories = [...objects].filter(([name]) => name.endsWith("rbd_directory"));
  const named = directories.flatMap(([, values]) =>
    [...values].filter(([key]) => key.startsWith("group_")).map(([, value]) => text(value)),
  );
  for (const [name, values] of objects) {
    const id = /rbd_group\.([0-9a-f]{16})$/.exec(name)?.[1];
    if (id === undefined) continue;
    if (!named.includes(id)) found.push(`${name} has no name`);
    for (const [key, value] of values) {
      if (key.startsWith("image_")) {
        const { imageId, state } = decodeMember(value);
        if (state !== "attached") found.push(`${name}: ${key} is ${state}`);
        if (headers.get(imageId)?.group?.groupId !== id) found.push(`${key} knows no ${name}`);
      } else if (key.startsWith("snap_")) {
        const { state, members } = decodeGroupSnapshot(value);
        if (state !== "ready") found.push(`${name}: ${key} is ${state}`);
        for (const { imageId, snapId } of members) {
          const header = headers.get(imageId);
          if (!header?.snapshots.some((snapshot) => snapshot.id === snapId)) {
            found.push(`${name}: ${key} lacks a snapshot of ${imageId}`);
          }
        }
      }
    }
  }
  for (const { id, group, snapshots } of headers.values()) {
    if (group !== undefined && !named.includes(group.groupId))
      found.push(`the group of ${id} is gone`);
    for (const snapshot of snapshots.filter(({ kind }) => kind === "group")) {
      const record = objects.get(`rbd_group.${snapshot.group?.groupId}`);
      const key = `snap_${snapshot.name.replace(".group.", "")}`;
      if (record?.has(key) !== true) found.push(`${id}@${snapshot.name} is of no group's snapshot`);
    }
  }
}

function checkNamespaces(objects: ReadonlyMap<string, Values>, found: string[]): void {
  const listed = objects.get("rbd_namespaces") ?? new Map<string, Uint8Array>();
  for (const [key, state] of listed) {
    const marker = text(objects.get(`${key.replace("name_", "")}/rbd_directory`)?.get("namespace"));
    if (text(state) !== "ready" || marker !== "ready") {
      found.push(`namespace ${key} is ${text(state)}, its directory ${marker || "not there"}`);
    }
  }
  for (const name of objects.keys()) {
    const namespace = /^([^:/]+)\/rbd_directory$/.exec(name)?.[1];
    if (namespace !== undefined && !listed.has(`name_${namespace}`)) {
      found.push(`namespace ${namespace} is not listed`);
    }
  }
}
