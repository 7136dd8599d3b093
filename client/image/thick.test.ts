// Images that take the space of their whole size when they are made.
import { describe, expect, it } from "vitest";
import { contents, mebibyte, sizeBytes } from "../testing/deaths.js";
import { FakeCluster } from "../testing/fake-cluster.js";
import { violations } from "../testing/invariants.js";
import { pendingStaleMs } from "./making.js";

const thick = { thickProvision: true };

function setUp() {
  const cluster = new FakeCluster();
  const client = cluster.client();
  /** nothing but what other images have */
  const nothingLeft = async () => {
    expect(await client.images.pending()).toEqual([]);
    expect(cluster.pool.dataObjects()).toEqual([]);
    expect(violations(cluster.pool)).toEqual([]);
  };
  return { cluster, client, nothingLeft };
}

describe("thick provisioning", () => {
  it("writes the whole image, and tells how far it is", async () => {
    const { client } = setUp();
    const steps: [number, number][] = [];
    const progress = (done: number, total: number) => steps.push([done, total]);
    const info = await client.images.create("a", sizeBytes, { ...thick, progress });
    expect(info.sizeBytes).toBe(sizeBytes);
    expect(await contents(client, "a")).toEqual(["0"]);
    expect(steps[0]).toEqual([4 * mebibyte, sizeBytes]);
    expect(steps.at(-1)).toEqual([sizeBytes, sizeBytes]);
    expect(client.io.openDevices).toBe(0);
  });

  it("is refused before anything is made when the pool has not the space", async () => {
    const { cluster, client, nothingLeft } = setUp();
    cluster.storableBytes = sizeBytes - 1;
    await expect(client.images.create("a", sizeBytes, thick)).rejects.toMatchObject({
      code: "no_space",
      message: /rbd has .* left/,
      remedy: /leave --thick-provision out/,
    });
    await nothingLeft();
    cluster.storableBytes = sizeBytes;
    await client.images.create("a", sizeBytes, thick);
  });

  it("looks at the pool that gets the data", async () => {
    const { cluster, client } = setUp();
    const asked: string[] = [];
    client.images.scope.cluster.storableBytes = async ({ name }) => {
      asked.push(name);
      return cluster.storableBytes;
    };
    await client.images.create("a", sizeBytes, { ...thick, dataPool: "fast" });
    expect(asked).toEqual(["fast"]);
  });

  it("can't be meant together with a size beyond the pool", async () => {
    const { client, nothingLeft } = setUp();
    const options = { ...thick, overcommit: true };
    const making = client.images.create("a", sizeBytes, options);
    await expect(making).rejects.toMatchObject({ code: "invalid_argument", remedy: /either/ });
    await nothingLeft();
  });

  it("stopped in the middle, it leaves nothing", async () => {
    const { client, nothingLeft } = setUp();
    const stop = new AbortController();
    let objects = 0;
    client.io.duringFill = () => {
      objects += 1;
      if (objects === 3) stop.abort();
    };
    const making = client.images.create("a", sizeBytes, { ...thick, signal: stop.signal });
    await expect(making).rejects.toMatchObject({ code: "canceled" });
    expect(objects).toBe(3);
    await nothingLeft();
  });

  it("taken for dead by somebody, it gives up and takes away what it wrote since", async () => {
    const { cluster, client, nothingLeft } = setUp();
    let renew = () => {};
    const every = (_periodMs: number, task: () => void) => {
      renew = task;
      return () => undefined;
    };
    let objects = 0;
    client.io.duringFill = () => {
      objects += 1;
      if (objects !== 2) return;
      cluster.wallMs += pendingStaleMs + 1;
      void cluster
        .client()
        .images.clearStale(["importing"])
        .then(() => renew());
    };
    const making = client.images.create("a", 400 * mebibyte, { ...thick, every });
    await expect(making).rejects.toMatchObject({ code: "canceled", message: /clearing it away/ });
    await nothingLeft();
  });

  it("clears away what an earlier one has left, which died", async () => {
    const { cluster, client } = setUp();
    let objects = 0;
    const dying = cluster.client(() => (objects > 2 ? "before" : undefined));
    dying.io.duringFill = () => {
      objects += 1;
    };
    await expect(dying.images.create("a", sizeBytes, thick)).rejects.toThrow();
    expect(cluster.pool.dataObjects()).toHaveLength(2);
    cluster.wallMs += pendingStaleMs + 1;
    await client.images.create("b", 4 * mebibyte, thick);
    expect(cluster.pool.dataObjects()).toHaveLength(1);
    expect(await client.images.pending()).toEqual([]);
  });
});
