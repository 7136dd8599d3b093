// A verb that takes more than one step, cut off by the death of its client before and after each
// single operation; then the next command that meets what it has left: nothing half made stays.
import { expect, it } from "vitest";
import { pendingStaleMs } from "../image/making.js";
import { type FakeClient, FakeCluster } from "./fake-cluster.js";
import { violations } from "./invariants.js";

export const mebibyte = 2 ** 20;
export const sizeBytes = 32 * mebibyte;

export interface MortalVerb {
  verb: string;
  prepare(client: FakeClient): Promise<unknown>;
  act(client: FakeClient): Promise<unknown>;
  /** by another client afterwards; default: the same verb again */
  next?(client: FakeClient): Promise<unknown>;
  /** what must be so then, however far the first one came */
  check?(client: FakeClient): Promise<unknown>;
  /** it has at least so many operations */
  operations: number;
}

export async function image(
  { io, images }: FakeClient,
  name: string,
  content = "x",
): Promise<void> {
  await images.create(name, sizeBytes);
  await write({ io, images } as FakeClient, name, content);
}

/** Under no lock, as a guest of another host did before. */
export async function write(
  { io, images }: FakeClient,
  name: string,
  content: string,
): Promise<void> {
  const { handle } = await images.open(name);
  io.fill(handle, 0, sizeBytes, content);
  images.close(handle);
}

/** What the image, or a snapshot of it, holds, one text for each content that is in it. */
export async function contents({ io, images }: FakeClient, name: string, snap?: string) {
  const { handle, info } = await images.open(name, { readOnly: true, ...(snap && { snap }) });
  const found = new Set<string | undefined>();
  for (let at = 0; at < info.sizeBytes; at += info.objectBytes) {
    found.add(io.contentAt(handle, at));
  }
  images.close(handle);
  return [...found];
}

/** What clients that died while they made something have left goes with any later rm. */
async function clearLater(cluster: FakeCluster): Promise<void> {
  cluster.wallMs += pendingStaleMs + 1;
  const { images } = cluster.client();
  await images.create("other", 512);
  await images.remove("other");
  await images.groups.create("other");
  await images.groups.remove("other");
}

export function diesAnywhere(verbs: readonly MortalVerb[]): void {
  it.each(verbs)("$verb", async ({ prepare, act, next = act, check, operations }) => {
    for (let death = 0; ; death += 1) {
      for (const moment of ["before", "after"] as const) {
        const cluster = new FakeCluster();
        await prepare(cluster.client());
        const dying = cluster.client((operation) => (operation === death ? moment : undefined));
        const first = await act(dying).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        const where = `died ${moment} operation ${death}`;
        if (!dying.io.dead) {
          expect(first, "undisturbed").toBeUndefined();
          expect(violations(cluster.pool), "undisturbed").toEqual([]);
          expect(death).toBeGreaterThanOrEqual(operations);
          return;
        }
        // What the first one has done all the same, the second one may find done.
        await next(cluster.client()).catch((error: { code: string }) => {
          expect(["already_exists", "not_found", "invalid_argument"], where).toContain(error.code);
        });
        await clearLater(cluster);
        expect(violations(cluster.pool), where).toEqual([]);
        await check?.(cluster.client());
      }
    }
  });
}
