// Where the data of a live import comes from, as rbd's --source-spec says it. Pure.
import path from "node:path";
import type { OriginSpec } from "../client/index.js";
import { StorageError } from "../common/errors.js";
import type { SnapOrId } from "./spec.js";

const example = '{"type": "qcow2", "stream": {"type": "file", "file_path": "/disk.qcow2"}}';

const nativeRemedy =
  'For example: {"type": "native", "pool_name": "rbd", "image_name": "disk1", ' +
  '"snap_name": "monday"}';

function wrong(message: string, remedy = `For example: ${example}`): StorageError {
  return new StorageError("invalid_argument", `source spec: ${message}`, { remedy });
}

/** A file, or a snapshot of an image of this cluster. */
export type ImportSource = OriginSpec | { native: SnapOrId };

/** @throws invalid_argument, unsupported_feature */
export function parseSourceSpec(text: string): ImportSource {
  const spec = object(parsed(text), "it");
  const { type, ...members } = spec;
  if (type === "native") return { native: nativeOf(members) };
  if (type !== "raw" && type !== "qcow2") throw wrong('type has to be "raw", "qcow2" or "native"');
  const { stream, snap_name: snapshot, ...rest } = members;
  refuseUnknown(rest);
  if (snapshot !== undefined && (typeof snapshot !== "string" || type === "raw")) {
    throw wrong("a snap_name is a text, and of a qcow2 file");
  }
  const shown = snapshot === undefined ? {} : { snapshot };
  return { ...streamOf(object(stream, "stream")), format: type, ...shown };
}

function nativeOf(members: Record<string, unknown>): SnapOrId {
  const text = (key: string): string | undefined => {
    const value = members[key];
    if (value === undefined || (typeof value === "string" && value !== "")) return value;
    throw wrong(`${key} has to be a text`, nativeRemedy);
  };
  const { pool_name: _p, pool_namespace: _n, image_name: _i, image_id: _d, ...other } = members;
  const { snap_name: _s, snap_id: _t, ...rest } = other;
  refuseUnknown(rest);
  const pool = text("pool_name");
  const imageId = text("image_id");
  const image = imageId ?? text("image_name");
  const snap = text("snap_name");
  const snapId = Number(members.snap_id ?? 0);
  if (pool === undefined || image === undefined || (snap === undefined && snapId === 0)) {
    throw wrong("a native source is a snapshot of an image", nativeRemedy);
  }
  if (!Number.isSafeInteger(snapId) || snapId < 0) {
    throw wrong("snap_id has to be a number", nativeRemedy);
  }
  const place = { pool, namespace: text("pool_namespace") ?? "", image };
  const id = imageId === undefined ? {} : { imageId };
  return { ...place, ...id, ...(snap === undefined ? { snapId } : { snap }) };
}

function refuseUnknown(rest: Record<string, unknown>): void {
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw unsupported(unknown, "Leave it out.");
}

function streamOf(stream: Record<string, unknown>): Omit<OriginSpec, "format"> {
  const { type, file_path: file, url } = stream;
  if (type === "file") {
    if (typeof file !== "string" || file === "") throw wrong("a file stream has a file_path");
    return { stream: "file", location: path.resolve(file) };
  }
  if (type === "http") {
    if (typeof url !== "string") throw wrong("an http stream has a url");
    return { stream: "http", location: checkedUrl(url) };
  }
  if (typeof type !== "string") throw wrong('stream has a type, "file" or "http"');
  throw unsupported(`stream of the type ${type}`, "Streams are of the types file and http.");
}

/** A file or URL by itself; its format shows in its content. */
export function originOf(text: string): OriginSpec {
  if (/^https?:\/\//.test(text)) return { stream: "http", location: checkedUrl(text) };
  return { stream: "file", location: path.resolve(text) };
}

function checkedUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw wrong(`"${text}" is no http or https URL`);
  }
  if (url.username !== "" || url.password !== "") {
    throw unsupported("password in a URL", "It would be stored with the image.");
  }
  return url.href;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw wrong("it is no JSON");
  }
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw wrong(`${what} has to be an object`);
}

function unsupported(what: string, remedy: string): StorageError {
  return new StorageError("unsupported_feature", `source spec: ${what} is not there`, { remedy });
}
