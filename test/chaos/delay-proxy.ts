// A program: passes TCP connections on to an address, each way so many milliseconds later. Packets
// are brought to it by a redirection inside the host whose link is delayed (network.ts).
//
//   node --import tsx delay-proxy.ts LISTEN_PORT HOST PORT DELAY_MS
//
// It prints "ready" when it listens, and runs until it is killed.
import { connect, createServer, type Socket } from "node:net";

const [listenPort = "", host = "", port = "", delayMs = ""] = process.argv.slice(2);

function passOn(from: Socket, to: Socket): void {
  // Timers of one length fire in their order.
  const later = (run: () => void) => setTimeout(run, Number(delayMs));
  from.on("data", (chunk) => later(() => to.write(chunk)));
  from.on("end", () => later(() => to.end()));
  // Whoever is reset is reset at once: the fault is delay, not silence.
  from.on("error", () => to.destroy());
  from.on("close", () => later(() => to.destroy()));
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const target = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
  passOn(client, target);
  passOn(target, client);
});
server.listen(Number(listenPort), () => process.stdout.write("ready\n"));
