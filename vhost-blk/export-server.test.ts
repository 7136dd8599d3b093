// Exports: targets, names and the order of a stop.
import path from "node:path";
import { describe, expect, it } from "vitest";
import { type ExportIo, type ExportTarget, serialOf, serve } from "./export-server.js";

class FakeIo implements ExportIo {
  readonly calls: unknown[] = [];
  async serveVhostUser(...args: unknown[]) {
    this.calls.push(args);
    return 7;
  }
  async serveNbd(...args: unknown[]) {
    this.calls.push(args);
    return 8;
  }
  async setDirtyBitmaps(...args: unknown[]) {
    this.calls.push(args);
  }
  async stopExport(handle: number) {
    this.calls.push(`stop ${handle}`);
  }
}

const names = { name: "disk1", serial: "cairn-0123" };

describe("serve", () => {
  it.each<[ExportTarget, string, unknown]>([
    [
      { kind: "vhost-user", socket: "/run/a.sock", queues: 4 },
      "/run/a.sock",
      [1, { socket: "/run/a.sock", queues: 4, serial: "cairn-0123" }],
    ],
    [
      { kind: "nbd", unix: "b.sock" },
      path.resolve("b.sock"),
      [1, { unix: path.resolve("b.sock"), exportName: "disk1" }],
    ],
    [
      { kind: "nbd", tcp: { host: "::1", port: 10809 } },
      "[::1]:10809",
      [1, { tcp: { host: "::1", port: 10809 }, exportName: "disk1" }],
    ],
  ])("serves %j", async (target, where, call) => {
    const io = new FakeIo();
    const running = await serve(io, 1, target, names);
    expect(running.where).toBe(where);
    await running.stop();
    expect(io.calls).toEqual([call, target.kind === "nbd" ? "stop 8" : "stop 7"]);
  });

  it("tells NBD clients of the snapshots that they can compare with", async () => {
    const io = new FakeIo();
    const dirtyBitmaps = [{ name: "monday", snap: 3 }];
    const target: ExportTarget = { kind: "nbd", unix: "/run/b.sock" };
    const running = await serve(io, 1, target, { ...names, dirtyBitmaps });
    await running.offer([{ name: "tuesday", snap: 4 }]);
    const stopping = running.stop();
    await running.offer(dirtyBitmaps);
    await stopping;
    expect(io.calls).toEqual([
      [1, { unix: "/run/b.sock", exportName: "disk1", dirtyBitmaps }],
      [8, [{ name: "tuesday", snap: 4 }]],
      "stop 8",
    ]);
  });

  it("refuses a path that no socket can have", async () => {
    const io = new FakeIo();
    const target: ExportTarget = { kind: "nbd", unix: `/${"x".repeat(107)}` };
    await expect(serve(io, 1, target, names)).rejects.toMatchObject({ code: "invalid_argument" });
    expect(io.calls).toEqual([]);
  });
});

describe("serialOf", () => {
  it("fits the 20 bytes of virtio, and differs by image", () => {
    const serial = serialOf("rbd", "0123456789abcdef");
    expect(serial).toMatch(/^cairn-[0-9a-f]{14}$/);
    expect(serialOf("rbd", "0123456789abcdee")).not.toBe(serial);
    expect(serialOf("rbd", "0123456789abcdef")).toBe(serial);
  });
});

it("serves at the address of a host by its name", async () => {
  const io = new FakeIo();
  await serve(io, 1, { kind: "nbd", tcp: { host: "localhost", port: 10809 } }, names);
  const host = expect.stringMatching(/^(127\.0\.0\.1|::1)$/);
  expect(io.calls).toEqual([[1, { tcp: { host, port: 10809 }, exportName: "disk1" }]]);
});

it("says what to do where it cannot listen", async () => {
  const io = new FakeIo();
  const inUse = Object.assign(new Error("another process listens"), { code: "address_in_use" });
  io.serveNbd = () => Promise.reject(inUse);
  const target: ExportTarget = { kind: "nbd", unix: "/run/b.sock" };
  await expect(serve(io, 1, target, names)).rejects.toMatchObject({
    code: "address_in_use",
    remedy: expect.stringContaining("Choose another one"),
  });
});
