// Delay of a host's connections, both those that it accepts and those that it makes. The test
// machines have no netem: nft redirects the connections to a proxy inside the host, which holds
// everything back. What was under way is reset, and dialled anew through the proxy.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Address } from "../../common/config.js";
import { type Host, insideOf, resetConnections, runInside } from "./network.js";

const table = "chaosdelay";
const firstListenPort = 6801;
/** The proxy dials from these, which are below the ports that the kernel gives out. */
const firstOwnPort = 20_000;
const ownPorts = "20000-27999";

/**
 * @param accepts where the host listens
 * @param dials who the host connects to
 * @returns ends it, and tells how many connections went through the proxy
 */
export async function delayHost(
  host: Host,
  accepts: Address,
  dials: readonly Address[],
  delayMs: number,
): Promise<() => number> {
  const ways = [accepts, ...dials].map((to, at) => ({ to, listenPort: firstListenPort + at }));
  const script = fileURLToPath(new URL("../../test/chaos/delay-proxy.ts", import.meta.url));
  const texts = ways.map(({ to, listenPort }) => `${listenPort}/${to.host}/${to.port}`);
  const words = [String(delayMs), String(firstOwnPort), ...texts];
  const [command = "", ...inside] = insideOf(host);
  const node = [process.execPath, "--import", "tsx", script, ...words];
  const proxy = spawn(command, [...inside, ...node], { stdio: ["ignore", "pipe", "inherit"] });
  await once(proxy.stdout, "data");
  const redirections = ways.slice(1).map(({ to, listenPort }) => {
    const match = `ip daddr ${to.host} tcp dport ${to.port} tcp sport != ${ownPorts}`;
    return `${match} counter redirect to :${listenPort}`;
  });
  const rules = `table ip ${table} {
  chain prerouting { type nat hook prerouting priority dstnat;
    iif != lo tcp dport ${accepts.port} counter redirect to :${firstListenPort}
  }
  chain output { type nat hook output priority -100;
    ${redirections.join("\n    ")}
  }
}
`;
  runInside(host, ["nft", "-f", "-"], rules);
  await resetConnections(host);
  return () => {
    const text = runInside(host, ["nft", "list", "table", "ip", table]);
    runInside(host, ["nft", "delete", "table", "ip", table]);
    proxy.kill("SIGKILL");
    const counts = [...text.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count));
    return counts.reduce((sum, count) => sum + count, 0);
  };
}
