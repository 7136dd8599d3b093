// The monitor and the OSDs as real processes, each on its own host; killed, stopped and started
// again. A daemon that ends without having been told to is a finding.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { DiskFaultCounters, DiskFaults } from "../../native/index.js";
import { type Host, insideOf } from "./network.js";

export const program = fileURLToPath(new URL("../../bin/cairn", import.meta.url));
const fakeTime = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const controlTimeoutMs = 3000;

/** Wall clocks can be set when libfaketime (a Debian package) is installed. */
export const canJumpClocks = existsSync(fakeTime);

export interface DaemonOptions {
  name: string;
  host: Host;
  dir: string;
  /** of `cairn` */
  args: readonly string[];
  faultDisk: boolean;
}

export class Daemon {
  /** ends that nobody has asked for */
  readonly surprises: string[] = [];
  private child: ChildProcess | undefined;
  private ended: Promise<void> = Promise.resolve();
  private endWanted = false;

  constructor(readonly options: DaemonOptions) {
    writeFileSync(this.clockFile, "+0\n");
  }

  get name(): string {
    return this.options.name;
  }
  get host(): Host {
    return this.options.host;
  }
  get logFile(): string {
    return path.join(this.options.dir, `${this.name}.log`);
  }
  get outputFile(): string {
    return path.join(this.options.dir, `${this.name}.out`);
  }
  private get clockFile(): string {
    return path.join(this.options.dir, `${this.name}.clock`);
  }
  private get socket(): string {
    return path.join(this.options.dir, `${this.name}.sock`);
  }

  isRunning(): boolean {
    return this.child !== undefined;
  }

  start(): void {
    if (this.child !== undefined) return;
    const { host, args, faultDisk } = this.options;
    const log = ["--log-file", this.logFile];
    const disk = faultDisk ? ["--fault-disk", this.socket] : [];
    const [command = "", ...words] = insideOf(host);
    const output = openSync(this.outputFile, "a");
    const child = spawn(command, [...words, process.execPath, program, ...args, ...log, ...disk], {
      stdio: ["ignore", output, output],
      env: { ...process.env, ...this.clockEnvironment() },
    });
    closeSync(output);
    this.endWanted = false;
    this.child = child;
    this.ended = new Promise((resolve) => {
      child.on("exit", (code, signal) => {
        if (!this.endWanted) this.surprises.push(`${this.name} ended: ${signal ?? `code ${code}`}`);
        this.child = undefined;
        resolve();
      });
    });
  }

  /** An end that follows is no surprise. */
  expectEnd(): void {
    this.endWanted = true;
  }
  expectNoEnd(): void {
    this.endWanted = false;
  }

  /** @returns false when it was not running */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<boolean> {
    if (this.child === undefined) return false;
    this.endWanted = true;
    this.child.kill(signal);
    if (signal === "SIGTERM") {
      const child = this.child;
      const timer = setTimeout(() => {
        this.surprises.push(`${this.name} did not stop within 30 s`);
        child.kill("SIGKILL");
      }, 30_000);
      await this.ended;
      clearTimeout(timer);
    } else {
      await this.ended;
    }
    return true;
  }

  /** Waits for an end that is due; one that does not come is a surprise. */
  async untilEnded(limitMs: number): Promise<void> {
    let cancel: () => void = () => undefined;
    const timeout = new Promise<"late">((resolve) => {
      const timer = setTimeout(() => resolve("late"), limitMs);
      cancel = () => clearTimeout(timer);
    });
    const outcome = await Promise.race([this.ended, timeout]);
    cancel();
    if (outcome !== "late") return;
    this.surprises.push(`${this.name} did not end in ${limitMs / 1000} s though its disk failed`);
    await this.end("SIGKILL");
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.child?.kill(signal);
  }

  /** As /proc shows it; undefined: not running. */
  processState(): string | undefined {
    if (this.child?.pid === undefined) return undefined;
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  }

  /** Shifts the daemon's wall clock; it sees it within a second. */
  setClockOffset(seconds: number): void {
    writeFileSync(this.clockFile, `${seconds < 0 ? "" : "+"}${seconds}\n`);
  }

  /** @returns undefined when the daemon does not answer (it has ended, or is stopped) */
  setDiskFaults(faults: Partial<DiskFaults>): Promise<DiskFaultCounters | undefined> {
    return new Promise((resolve) => {
      const socket = connect(this.socket);
      const finish = (counters: DiskFaultCounters | undefined) => {
        clearTimeout(timer);
        socket.destroy();
        resolve(counters);
      };
      const timer = setTimeout(() => finish(undefined), controlTimeoutMs);
      socket.on("error", () => finish(undefined));
      const lines = createInterface({ input: socket });
      // It passes the errors of its input on.
      lines.on("error", () => finish(undefined));
      lines.on("line", (line) => {
        const answer = JSON.parse(line) as { counters?: DiskFaultCounters };
        finish(answer.counters);
      });
      socket.write(`${JSON.stringify(faults)}\n`);
    });
  }

  private clockEnvironment(): Record<string, string> {
    if (!canJumpClocks) return {};
    return {
      LD_PRELOAD: fakeTime,
      FAKETIME_TIMESTAMP_FILE: this.clockFile,
      FAKETIME_CACHE_DURATION: "1",
      // Leases and timers run on the monotonic clocks, which no administrator can set.
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
  }
}

/** Runs a verb to its end. @throws with what it said when it fails */
export async function cairn(...args: string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [program, ...args], { timeout: 60_000 });
}
