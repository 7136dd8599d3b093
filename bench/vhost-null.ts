// Compares our vhost-user front end over a disk of zeros with qemu-storage-daemon's export over
// null-co: one client of our own, the same machine, the runs of the two side by side in turns.
//
//   tsx bench/vhost-null.ts [--build DIR] [--seconds S] [--rounds N] [--wait call|spin] [--json]
//
// DIR has the programs bench_vhost_null and bench_vhost_null_server (default build/native). Exit
// code 1 when ours is slower in a median, 2 for wrong arguments or a missing program.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";

const diskBytes = 1024 ** 3;
const queueDepths = [1, 32];
const startTimeoutMs = 5000;

interface Run {
  queueDepth: number;
  iops: number;
  latencyUs: { mean: number; p50: number; p99: number; max: number };
  cpuUsPerOp: { client: number; server: number };
  errors: number;
}

interface Server {
  name: string;
  socketPath: string;
  process: ChildProcess;
}

interface Options {
  build: string;
  seconds: number;
  rounds: number;
  wait: string;
  json: boolean;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      build: { type: "string", default: "build/native" },
      seconds: { type: "string", default: "2" },
      rounds: { type: "string", default: "3" },
      wait: { type: "string", default: "call" },
      json: { type: "boolean", default: false },
    },
  });
  const options = { ...values, seconds: Number(values.seconds), rounds: Number(values.rounds) };
  if (!(options.seconds > 0) || !Number.isInteger(options.rounds) || options.rounds < 1)
    throw new Error("--seconds and --rounds must be above 0");
  for (const program of ["bench_vhost_null", "bench_vhost_null_server"])
    if (!existsSync(join(options.build, program)))
      throw new Error(`${join(options.build, program)} is missing; build the native core first`);
  return options;
}

async function startServer(
  name: string,
  socketPath: string,
  command: string,
  args: string[],
): Promise<Server> {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
  let problem = "";
  child.stderr.on("data", (text: Buffer) => {
    problem += text.toString();
  });
  child.on("error", (error) => {
    problem += `${command}: ${error.message}`;
  });
  for (let waitedMs = 0; !existsSync(socketPath); waitedMs += 20) {
    if (child.exitCode !== null || child.pid === undefined || waitedMs > startTimeoutMs) {
      child.kill();
      throw new Error(`${name} did not start: ${problem}`);
    }
    await sleep(20);
  }
  return { name, socketPath, process: child };
}

function startOurs(folder: string, build: string): Promise<Server> {
  const socketPath = join(folder, "cairn.sock");
  const program = join(build, "bench_vhost_null_server");
  return startServer("cairn", socketPath, program, [
    "--socket",
    socketPath,
    "--size-bytes",
    String(diskBytes),
  ]);
}

function startPeer(folder: string): Promise<Server> {
  const socketPath = join(folder, "qsd.sock");
  return startServer("qemu-storage-daemon", socketPath, "qemu-storage-daemon", [
    "--blockdev",
    `driver=null-co,node-name=n0,size=${diskBytes}`,
    "--export",
    `type=vhost-user-blk,id=e0,node-name=n0,addr.type=unix,addr.path=${socketPath},writable=on`,
  ]);
}

async function measure(server: Server, queueDepth: number, options: Options): Promise<Run> {
  const { stdout } = await promisify(execFile)(join(options.build, "bench_vhost_null"), [
    "--socket",
    server.socketPath,
    "--queue-depth",
    String(queueDepth),
    "--seconds",
    String(options.seconds),
    "--wait",
    options.wait,
    "--server-pid",
    String(server.process.pid),
    "--json",
  ]);
  return JSON.parse(stdout) as Run;
}

function medianRun(runs: Run[]): Run {
  const sorted = [...runs].sort((a, b) => a.iops - b.iops);
  const median = sorted[Math.floor(sorted.length / 2)];
  if (median === undefined) throw new Error("no run was made");
  return median;
}

function line(name: string, run: Run): string {
  return (
    `QD${run.queueDepth} ${name}: ${run.iops} IOPS, mean ${run.latencyUs.mean} us, ` +
    `p99 ${run.latencyUs.p99} us, CPU us/op client ${run.cpuUsPerOp.client} ` +
    `server ${run.cpuUsPerOp.server}`
  );
}

async function compare(servers: [Server, Server], options: Options): Promise<boolean> {
  let fastEnough = true;
  for (const queueDepth of queueDepths) {
    const runs: [Run[], Run[]] = [[], []];
    for (let round = 0; round < options.rounds; round += 1) {
      runs[0].push(await measure(servers[0], queueDepth, options));
      runs[1].push(await measure(servers[1], queueDepth, options));
    }
    const ours = medianRun(runs[0]);
    const peer = medianRun(runs[1]);
    const ratio = ours.iops / peer.iops;
    fastEnough &&= ratio >= 1;
    if (options.json) {
      console.log(JSON.stringify({ queueDepth, ratio, cairn: ours, qemuStorageDaemon: peer }));
    } else {
      console.log(line(servers[0].name, ours));
      console.log(line(servers[1].name, peer));
      console.log(`QD${queueDepth} ratio of IOPS: ${ratio.toFixed(2)}`);
    }
  }
  return fastEnough;
}

async function main(): Promise<number> {
  const options = readOptions();
  const folder = mkdtempSync(join(tmpdir(), "cairn-vhost-null-"));
  const started: Server[] = [];
  try {
    const ours = await startOurs(folder, options.build);
    started.push(ours);
    const peer = await startPeer(folder);
    started.push(peer);
    return (await compare([ours, peer], options)) ? 0 : 1;
  } finally {
    for (const server of started) server.process.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 2;
  },
);
