// Where the data of a live import comes from, as rbd's --source-spec says it. Pure.
import path from "node:path";
import type { OriginSpec } from "../client/index.js";
import { StorageError } from "../common/errors.js";

const example = '{"type": "qcow2", "stream": {"type": "file", "file_path": "/disk.qcow2"}}';

function wrong(message: string, remedy = `For example: ${example}`): StorageError {
  return new StorageError("invalid_argument", `source spec: ${message}`, { remedy });
}

/** @throws invalid_argument, unsupported_feature */
export function parseSourceSpec(text: string): OriginSpec {
  const spec = object(parsed(text), "it");
  const { type, stream, ...rest } = spec;
  if (type === "native") {
    throw unsupported("type native", "Name the image: cairn migration prepare SOURCE DEST");
  }
  if (type !== "raw" && type !== "qcow2") throw wrong('type has to be "raw" or "qcow2"');
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw unsupported(unknown, "Leave it out.");
  return { ...streamOf(object(stream, "stream")), format: type };
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
