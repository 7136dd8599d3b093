// Where an NBD server listens, as --nbd says it.
import { InvalidArgumentError } from "commander";
import type { Address } from "../common/config.js";
import { addressValue } from "./options.js";

export type NbdTarget = { unix: string } | { tcp: Address };

/** unix:PATH or tcp:HOST:PORT. */
export function nbdValue(text: string): NbdTarget {
  const [kind, ...rest] = text.split(":");
  const value = rest.join(":");
  if (kind === "unix" && value !== "") return { unix: value };
  if (kind === "tcp") return { tcp: addressValue(value) };
  throw new InvalidArgumentError("It should be unix:PATH or tcp:HOST:PORT.");
}
