// A change of a header is made of what was read, or not at all; and only under the newest token.
import { describe, expect, it } from "vitest";
import { FakeCluster } from "../testing/fake-cluster.js";
import { changeHeader } from "./header-change.js";
import { setStep, u64Value } from "./omap-values.js";

async function made() {
  const cluster = new FakeCluster();
  const client = cluster.client();
  const { id } = await client.images.create("a", 512);
  const set = (key: string, value: number) =>
    cluster.pool.apply(`rbd_header.${id}`, [setStep(key, u64Value(value))]);
  set("lock_token", 5);
  return { cluster, ...client, id, set };
}

/** Something that happens after the header was read, before the change is written. */
function between(io: { operate: (...call: never[]) => unknown }, happens: () => unknown): void {
  const operate = io.operate.bind(io) as (...call: unknown[]) => unknown;
  let reads = 0;
  io.operate = ((...call: unknown[]) => {
    if (reads++ === 1) happens();
    return operate(...call);
  }) as typeof io.operate;
}

const grow = () => [setStep("size", u64Value(1024))];

describe("a change of a header", () => {
  it.each([4, 6])("is refused under token %i when the newest is 5", async (token) => {
    const { images, id } = await made();
    const changing = changeHeader(images.scope, id, { key: id, token }, grow);
    await expect(changing).rejects.toMatchObject({ code: "fenced" });
    expect((await images.info("a")).sizeBytes).toBe(512);
  });

  it("is refused when another client takes the lock between reading and writing", async () => {
    const { io, images, id, set } = await made();
    between(io, () => set("lock_token", 6));
    const changing = changeHeader(images.scope, id, { key: id, token: 5 }, grow);
    await expect(changing).rejects.toMatchObject({ code: "fenced" });
    expect((await images.info("a")).sizeBytes).toBe(512);
  });

  it("is decided anew when something that it hangs on has changed", async () => {
    const { io, images, id, set } = await made();
    between(io, () => set("size", 2048));
    const seen: number[] = [];
    await changeHeader(images.scope, id, { key: id, token: 5 }, ({ header, unchanged }) => {
      seen.push(header.sizeBytes);
      return [unchanged("size"), setStep("size", u64Value(header.sizeBytes * 2))];
    });
    expect(seen).toEqual([512, 2048]);
    expect((await images.info("a")).sizeBytes).toBe(4096);
  });

  it("finds an image that is gone", async () => {
    const { cluster, images, id } = await made();
    cluster.pool.objects.delete(`rbd_header.${id}`);
    const changing = changeHeader(images.scope, id, undefined, grow);
    await expect(changing).rejects.toMatchObject({ code: "not_found" });
  });
});
