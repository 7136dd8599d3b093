// Two attaches fight for one image over NBD, on a real cluster: a hand-over between the living, a
// frozen holder whose every write is refused when it wakes, and a broken lock.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cairn, cairnJson } from "./support.js";

const root = join(fileURLToPath(import.meta.url), "../../..");
const folder = mkdtempSync(join(root, ".test-fencing-"));
const cluster = join(folder, "cluster");

/** An attach of rbd/disk with its NBD socket. */
class Attach {
  readonly socket: string;
  readonly ended: Promise<number | null>;
  stderr = "";
  private readonly child: ChildProcess;
  private stdout = "";

  constructor(name: string, ...flags: string[]) {
    this.socket = join(folder, `${name}.sock`);
    const where = ["--nbd", `unix:${this.socket}`, "--lock-timeout", "3s", "--dir", cluster];
    const args = [join(root, "bin/cairn"), "attach", "rbd/disk", ...where, ...flags];
    this.child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.child.stdout?.on("data", (chunk: Buffer) => {
      this.stdout += chunk;
    });
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.stderr += chunk;
    });
    this.ended = new Promise((resolve) => this.child.on("exit", resolve));
  }

  async ready(): Promise<this> {
    await until(() => this.stdout.includes("attached"), "the attach");
    return this;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Until no thread runs any more: on a busy machine some go on for a while after the signal. */
  async freeze(): Promise<void> {
    this.signal("SIGSTOP");
    const tasks = `/proc/${this.child.pid}/task`;
    const isStopped = (task: string) =>
      /^State:\tT/m.test(readFileSync(join(tasks, task, "status"), "utf8"));
    await until(() => readdirSync(tasks).every(isStopped), "the freeze");
  }

  async stop(): Promise<void> {
    this.signal("SIGCONT");
    this.signal("SIGTERM");
    await this.ended;
  }
}

/** A guest: qemu-io with commands one by one over one NBD connection. */
class Guest {
  private readonly child: ChildProcess;
  private output = "";
  private commands = 0;

  constructor(attach: Attach) {
    const uri = `nbd+unix:///disk?socket=${attach.socket}`;
    this.child = spawn("qemu-io", ["-f", "raw", uri], { stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk;
      });
    }
    this.child.stdin?.on("error", () => undefined);
  }

  /** @returns what it printed */
  async run(command: string): Promise<string> {
    const start = this.output.length;
    this.child.stdin?.write(`${command}\n`);
    this.commands += 1;
    const done = /ops\/sec|failed|error/i;
    await until(() => done.test(this.output.slice(start)), command);
    return this.output.slice(start);
  }

  async writes(pattern: number, offset: string): Promise<boolean> {
    return (await this.run(`write -P ${pattern} ${offset} 4k`)).includes("wrote 4096/4096");
  }

  async holds(pattern: number, offset: string): Promise<boolean> {
    const output = await this.run(`read -P ${pattern} ${offset} 4k`);
    return output.includes("read 4096/4096") && !output.includes("Pattern verification failed");
  }

  end(): void {
    this.child.kill("SIGKILL");
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let waitedMs = 0; !condition(); waitedMs += 20) {
    if (waitedMs > 60_000) throw new Error(`${what}: nothing for 60 s`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

interface Use {
  holder?: { id: string; client: string };
  watchers: unknown[];
}

const use = () => cairnJson<Use>(cluster, "status", "rbd/disk");

describe("two clients and one image", { timeout: 180_000 }, () => {
  const running: Attach[] = [];
  const guests: Guest[] = [];
  const attach = async (name: string, ...flags: string[]) => {
    const started = new Attach(name, ...flags);
    running.push(started);
    return started.ready();
  };
  const guest = (of: Attach) => {
    const started = new Guest(of);
    guests.push(started);
    return started;
  };

  beforeAll(async () => {
    expect((await cairn(cluster, "up")).code).toBe(0);
    await cairnJson(cluster, "create", "rbd/disk", "--size", "64M");
  }, 180_000);

  afterAll(async () => {
    for (const each of guests) each.end();
    await Promise.all(running.map((each) => each.stop()));
    await cairn(cluster, "down", "--purge");
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  it("hands the lock over between the living, with all that was written", async () => {
    const [a, b] = [await attach("a1"), await attach("b1")];
    expect(await use()).toMatchObject({ watchers: [{}, {}] });
    const [first, second] = [guest(a), guest(b)];
    for (let round = 1; round <= 3; ++round) {
      expect(await first.writes(round, "0")).toBe(true);
      expect(await second.holds(round, "0")).toBe(true);
      expect(await second.writes(round + 100, "4k")).toBe(true);
      expect(await first.holds(round + 100, "4k")).toBe(true);
    }
    expect((await use()).holder).toBeDefined();
    const refused = await cairn(cluster, "rm", "rbd/disk");
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/in use|locked/) });
    // The holder resizes; its guest sees the new size after the next connect.
    await cairnJson(cluster, "resize", "rbd/disk", "--size", "96M");
    for (const each of [first, second]) each.end();
    const larger = guest(a);
    expect(await larger.writes(1, "95M")).toBe(true);
    larger.end();
    await Promise.all([a.stop(), b.stop()]);
    expect(await use()).toEqual({ watchers: [] });
  });

  it("refuses all that a frozen holder sends after another has taken over", async () => {
    const [a, b] = [await attach("a2"), await attach("b2")];
    const [old, taker] = [guest(a), guest(b)];
    for (let i = 0; i < 16; ++i) expect(await old.writes(1, `${i * 4}M`)).toBe(true);
    await a.freeze();
    // A write that is on its way into the frozen one.
    const late = old.writes(7, "8M");
    const startMs = performance.now();
    expect(await taker.holds(1, "0")).toBe(true);
    expect(performance.now() - startMs).toBeLessThan(30_000);
    expect(await taker.writes(2, "4M")).toBe(true);
    a.signal("SIGCONT");
    let refused = 0;
    let accepted = 0;
    const count = (ok: boolean) => {
      if (ok) accepted += 1;
      else refused += 1;
    };
    count(await late);
    for (let i = 0; i < 15; ++i) count(await old.writes(9, `${i * 4}M`));
    console.log(`stale-token writes refused ${refused}, accepted ${accepted}`);
    expect({ refused, accepted }).toEqual({ refused: 16, accepted: 0 });
    expect(await a.ended).toBe(1);
    expect(a.stderr).toMatch(/lock of the image is lost/);
    expect(await taker.holds(2, "4M")).toBe(true);
    for (const i of [0, 2, 3, 7, 15]) expect(await taker.holds(1, `${i * 4}M`)).toBe(true);
    taker.end();
    await b.stop();
  });

  it("leaves an exclusive lock where it is until an operator breaks it", async () => {
    const a = await attach("a3", "--exclusive");
    const old = guest(a);
    expect(await old.writes(5, "0")).toBe(true);
    const b = await attach("b3");
    const waiting = guest(b);
    expect(await b.ended).toBe(1);
    expect(b.stderr).toMatch(/locked exclusively by/);
    waiting.end();
    const holder = (await use()).holder;
    expect(holder).toBeDefined();
    await cairnJson(cluster, "lock", "rm", "rbd/disk", holder?.id ?? "");
    expect(await cairnJson(cluster, "osd", "blocklist", "ls")).toMatchObject([
      { client: holder?.client },
    ]);
    expect(await old.writes(6, "0")).toBe(false);
    expect(await a.ended).toBe(1);
    const c = await attach("c3");
    const next = guest(c);
    expect(await next.holds(5, "0")).toBe(true);
    next.end();
    await c.stop();
    await cairnJson(cluster, "osd", "blocklist", "rm", holder?.client ?? "");
    expect(await cairnJson(cluster, "osd", "blocklist", "ls")).toEqual([]);
    await cairnJson(cluster, "rm", "rbd/disk");
  });
});
