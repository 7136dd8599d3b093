// A program: passes TCP connections on to addresses, each way so many milliseconds later. Packets
// are brought to it by redirections inside the host whose links are delayed (delay.ts).
//
//   node --import tsx delay-proxy.ts DELAY_MS FIRST_PORT LISTEN_PORT/HOST/PORT...
//
// What it dials comes from FIRST_PORT or one of the thousands behind it, so that it is not
// redirected once more. It prints "ready" when it listens, and runs until it is killed.
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

const [delayMs = "", firstPort = "", ...ways] = process.argv.slice(2);
const ownPorts = 8000;
let dialled = 0;

function passOn(from: Socket, to: Socket): void {
  // Timers of one length fire in their order.
  const later = (run: () => void) => setTimeout(run, Number(delayMs));
  from.on("data", (chunk) => later(() => to.write(chunk)));
  from.on("end", () => later(() => to.end()));
  // Whoever is reset is reset at once: the fault is delay, not silence.
  from.on("error", () => to.destroy());
  from.on("close", () => later(() => to.destroy()));
}

async function listen(way: string): Promise<void> {
  const [listenPort = "", host = "", port = ""] = way.split("/");
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const localPort = Number(firstPort) + (dialled++ % ownPorts);
    const to = { host, port: Number(port), localPort };
    const target = connect({ ...to, allowHalfOpen: true, noDelay: true });
    passOn(client, target);
    passOn(target, client);
  });
  server.listen(Number(listenPort));
  await once(server, "listening");
}

await Promise.all(ways.map(listen));
process.stdout.write("ready\n");
