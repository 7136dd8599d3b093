// Being told when somebody changes an image, or what is configured for all images of a pool: a
// watch on that object that wants no lock.
import { headerObject } from "./header.js";
import { decodeRequest, encodeReply } from "./lock-record.js";
import type { Scope } from "./scope.js";
import { endWatch } from "./watchers.js";

const timeoutMs = 30_000;

/** Calls `changed` at each change of the header. Returns the end. @throws not_found */
export function watchHeader(
  scope: Scope,
  id: string,
  changed: () => Promise<void>,
): Promise<() => Promise<void>> {
  return watchObject(scope, headerObject(id), changed);
}

/** Calls `changed` when somebody says that the object has changed. @throws not_found */
export async function watchObject(
  scope: Scope,
  object: string,
  changed: () => Promise<void>,
): Promise<() => Promise<void>> {
  const { io, clock, description, onEvent } = scope.lockPorts();
  // Another cookie than those that hold or want the lock have: nobody takes us for one of them.
  const cookie = `header-${scope.newId()}`;
  const watch = await io.watch(scope.pool.id, object, { cookie, description, timeoutMs });
  const stop = onEvent((event) => {
    if (event.type === "watchLapsed" && event.watch === watch) void changed();
    if (event.type !== "notify" || event.watch !== watch) return;
    io.answerNotify(event.answer, encodeReply({ answer: "none" }));
    if (isChange(event.payload)) void changed();
  });
  return async () => {
    stop();
    await endWatch({ io, clock }, watch);
  };
}

function isChange(payload: Uint8Array): boolean {
  try {
    return decodeRequest(payload).op === "header.changed";
  } catch {
    // What a newer version says does not concern us.
    return false;
  }
}
