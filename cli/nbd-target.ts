// Where an NBD server listens, as --nbd says it.
import { InvalidArgumentError } from "commander";
import type { Address } from "../common/config.js";
import { addressValue } from "./options.js";

export type NbdTarget = { unix: string } | { tcp: Address };

/** unix:PATH or tcp:HOST:PORT. Port 0 is refused: nobody would learn which one the kernel chose. */
export function nbdValue(text: string): NbdTarget {
  const [kind, ...rest] = text.split(":");
  const value = rest.join(":");
  if (kind === "unix" && value !== "") return { unix: value };
  if (kind === "tcp") {
    const tcp = addressValue(value);
    if (tcp.port !== 0) return { tcp };
    throw new InvalidArgumentError("Its port should be from 1 to 65535, such as 10809.");
  }
  throw new InvalidArgumentError("It should be unix:PATH or tcp:HOST:PORT.");
}
