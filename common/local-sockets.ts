// Whether processes of one machine reach each other by Unix sockets: said by an option, or by the
// environment.
import { StorageError } from "./errors.js";

export const onOrOff = ["on", "off"] as const;
export type OnOff = (typeof onOrOff)[number];
export const localSocketsVariable = "CAIRN_LOCAL_SOCKETS";

/** On unless something says otherwise. @throws invalid_argument */
export function localSocketsOf(
  given: boolean | undefined,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  if (given !== undefined) return given;
  const text = environment[localSocketsVariable] ?? "";
  if (text === "" || text === "on") return true;
  if (text === "off") return false;
  throw new StorageError("invalid_argument", `${localSocketsVariable} is "${text}"`, {
    remedy: "Set it to on or off.",
  });
}
