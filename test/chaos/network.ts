// Hosts as network namespaces on one bridge, and the faults of their links. All of it lives in the
// network and process namespaces of the runner, and ends with it.
//
// A host is a sleeping process that holds its namespace open; its end of a veth pair is "eth0".
// Faults are nft rules inside the host, with counters: a fault counts as delivered when packets met
// it.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export interface Host {
  name: string;
  address: string;
  holder: ChildProcess;
}

/** What happens to packets between a host and others: dropped, or answered with a reset. */
export interface LinkRule {
  direction: "in" | "out";
  /** addresses; undefined: everybody */
  peers: readonly string[] | undefined;
  verdict: "drop" | "reset";
}

const bridgeAddress = "10.77.0.254";
const table = "chaos";

function run(command: string, args: readonly string[], input?: string): string {
  return execFileSync(command, args, {
    encoding: "utf8",
    stdio: ["pipe", "pipe", "pipe"],
    ...(input === undefined ? {} : { input }),
  });
}

/** The words that run a command inside a host. */
export function insideOf(host: Host): string[] {
  return ["nsenter", "-t", String(host.holder.pid), "-n", "--"];
}

export function runInside(host: Host, words: readonly string[], input?: string): string {
  const [command = "", ...args] = [...insideOf(host), ...words];
  return run(command, args, input);
}

/** The bridge; the runner and its clients have an address on it. */
export function makeBridge(): void {
  run("ip", ["link", "set", "lo", "up"]);
  run("ip", ["link", "add", "chaos0", "type", "bridge"]);
  run("ip", ["link", "set", "chaos0", "up"]);
  run("ip", ["addr", "add", `${bridgeAddress}/24`, "dev", "chaos0"]);
}

export async function makeHost(name: string, number: number): Promise<Host> {
  const holder = spawn("unshare", ["-n", "sleep", "infinity"], { stdio: "ignore" });
  const host = { name, address: `10.77.0.${number}`, holder };
  await untilInside(holder.pid ?? 0);
  const link = `veth${number}`;
  run("ip", [
    "link",
    "add",
    link,
    "type",
    "veth",
    "peer",
    "name",
    "eth0",
    "netns",
    `${holder.pid}`,
  ]);
  run("ip", ["link", "set", link, "master", "chaos0", "up"]);
  const commands = [
    "ip link set lo up",
    "ip link set eth0 up",
    `ip addr add ${host.address}/24 dev eth0`,
  ];
  runInside(host, ["sh", "-ec", commands.join("; ")]);
  return host;
}

/** Until the process has left our network namespace. */
async function untilInside(pid: number): Promise<void> {
  const ours = readlinkSync("/proc/self/ns/net");
  for (let tries = 0; tries < 500; ++tries) {
    if (readlinkSync(`/proc/${pid}/ns/net`) !== ours) return;
    await sleep(10);
  }
  throw new Error("a network namespace could not be made");
}

/** Puts the rules in force, in place of those that are. */
export function setRules(host: Host, rules: readonly LinkRule[]): void {
  const lines = (direction: "in" | "out") =>
    rules
      .filter((rule) => rule.direction === direction)
      .map(({ peers, verdict }) => {
        const side = direction === "in" ? "saddr" : "daddr";
        const match = peers === undefined ? "" : `ip ${side} { ${peers.join(", ")} } `;
        return verdict === "drop"
          ? `${match}counter drop`
          : `meta l4proto tcp ${match}counter reject with tcp reset`;
      })
      .join("\n");
  const script = `table inet ${table} {}
delete table inet ${table}
table inet ${table} {
  chain input { type filter hook input priority 0;
    iif lo accept
    ${lines("in")}
  }
  chain output { type filter hook output priority 0;
    oif lo accept
    ${lines("out")}
  }
}
`;
  runInside(host, ["nft", "-f", "-"], script);
}

/** Takes the rules away. @returns how many packets met them */
export function clearRules(host: Host): number {
  const text = runInside(host, ["nft", "list", "table", "inet", table]);
  const packets = [...text.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count));
  runInside(host, ["nft", "delete", "table", "inet", table]);
  return packets.reduce((sum, count) => sum + count, 0);
}

/** Makes what the host sends slow: its packets queue. */
export function slowLink(host: Host, kilobitPerSecond: number): void {
  const rate = `${kilobitPerSecond}kbit`;
  runInside(
    host,
    `tc qdisc add dev eth0 root tbf rate ${rate} burst 16kb latency 300ms`.split(" "),
  );
}

/** @returns how many packets had to wait */
export function fastLink(host: Host): number {
  const text = runInside(host, ["tc", "-s", "qdisc", "show", "dev", "eth0"]);
  runInside(host, ["tc", "qdisc", "del", "dev", "eth0", "root"]);
  return Number(/overlimits (\d+)/.exec(text)?.[1] ?? 0);
}

/** A connection is reset at its next packet; heartbeats bring one every 250 ms. */
const resetMs = 400;

/** @returns how many packets met it */
export async function resetConnections(host: Host): Promise<number> {
  setRules(host, [
    { direction: "in", peers: undefined, verdict: "reset" },
    { direction: "out", peers: undefined, verdict: "reset" },
  ]);
  await sleep(resetMs);
  return clearRules(host);
}
