// Changing a header: read it, decide, write what is decided if nothing of it has changed since. A
// change under a lock is refused as soon as somebody else has taken that.
import { StorageError } from "../../common/errors.js";
import type { NativeFence, NativeStep } from "../../native/binding.js";
import { encodeValue } from "../../proto/encoding.js";
import type { ImageAccess } from "./access.js";
import { decodeHeader, headerObject, type ImageHeader, rememberedRequests } from "./header.js";
import { lockTokenKey } from "./lock-record.js";
import { compareStep, hasCode, type Omap, setStep, u64Value } from "./omap-values.js";
import type { Scope } from "./scope.js";

/** What a change was decided on. */
export interface HeaderView {
  header: ImageHeader;
  /** Guard: the key still has the value that was read. */
  unchanged(key: string): NativeStep;
}

const maxAttempts = 20;

/**
 * @param fence undefined: a change that needs no lock; it is then guarded by what `decide` compares
 * @param decide the steps, undefined: nothing is to be done; called again when the header changed
 * @param known what somebody has just read of it: tried first, as `decide` compares what it needs
 * @returns the header that the change was made of
 * @throws fenced when the lock is somebody else's by now; not_found; what decide throws
 */
export async function changeHeader(
  scope: Scope,
  id: string,
  fence: NativeFence | undefined,
  decide: (view: HeaderView) => NativeStep[] | undefined,
  known?: Omap,
): Promise<ImageHeader> {
  for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
    const omap = (attempt === 0 ? known : undefined) ?? (await scope.headerValues(id));
    if (omap === undefined) {
      throw new StorageError("not_found", `the image with the id ${id} is gone`);
    }
    const header = decodeHeader(id, omap);
    const values = new Map(omap);
    const unchanged = (key: string) => compareStep(key, values.get(key));
    const steps = decide({ header, unchanged });
    if (steps === undefined) return header;
    if (fence !== undefined) requireToken(values.get(lockTokenKey), fence);
    const guard = fence === undefined ? [] : [compareStep(lockTokenKey, u64Value(fence.token))];
    try {
      const all: NativeStep[] = [{ code: "assertExists" }, ...guard, ...steps];
      await scope.io.operate(scope.pool.id, headerObject(id), all);
      return header;
    } catch (thrown) {
      if (!hasCode(thrown, "precondition_failed")) throw thrown;
    }
  }
  throw new StorageError("busy", "the image is being changed by others all the time");
}

/**
 * The step of a change that decides it: made once for each request, though that may come again to
 * another holder of the lock, whose predecessor has not told the outcome any more.
 * @param known as of changeHeader
 */
export function changeOnce(
  { scope, id, fence, request }: ImageAccess,
  decide: (view: HeaderView) => NativeStep[] | undefined,
  known?: Omap,
): Promise<ImageHeader> {
  const noting = (view: HeaderView): NativeStep[] | undefined => {
    if (request !== undefined && view.header.requests.includes(request)) return undefined;
    const steps = decide(view);
    return steps === undefined ? undefined : [...steps, ...noteSteps(view, request)];
  };
  return changeHeader(scope, id, fence, noting, known);
}

/** Notes in the header that the request has been carried out. */
export function noteSteps(
  { header, unchanged }: HeaderView,
  request: string | undefined,
): NativeStep[] {
  if (request === undefined) return [];
  const noted = [...header.requests, request].slice(-rememberedRequests);
  return [unchanged("requests"), setStep("requests", encodeValue(noted))];
}

function requireToken(stored: Uint8Array | undefined, { token }: NativeFence): void {
  if (Buffer.compare(stored ?? new Uint8Array(), u64Value(token)) === 0) return;
  throw new StorageError("fenced", "another client has taken the image over");
}
