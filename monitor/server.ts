// The control server: accepts control connections, hands their messages to the cluster, and pushes
// maps and log levels to them. docs/protocol/monitor.md
//
// Invariants: an OSD's messages count only if they speak of the OSD that its handshake named and
// come from the incarnation that the map knows; one session per OSD, the newest. While the OSD that
// the map shows as up is connected, another incarnation takes its place only by booting from the
// OSD's own store: a hello that claims an id disturbs nobody.
import { createServer, type Server } from "node:net";
import type { Address } from "../common/config.js";
import { type ErrorCode, StorageError, toStorageError } from "../common/errors.js";
import type { Logger } from "../common/log.js";
import { type Clock, systemClock } from "../common/ports.js";
import { commandSchemas } from "../proto/commands.js";
import { clusterBytes } from "../proto/control-channel.js";
import type { ControlStream } from "../proto/control-stream.js";
import { type Hello, protocolVersion } from "../proto/handshake.js";
import type { Command, MessageToMonitor, OsdBoot, OsdStartRefused } from "../proto/messages.js";
import { findOsd, type OsdMap } from "../proto/osd-map.js";
import type { Cluster } from "./cluster.js";
import { type CommandContext, runCommand } from "./commands.js";
import { logLevelFor } from "./services/config-service.js";
import { bootRefusal } from "./services/osd-service.js";
import { Session, type SessionHost } from "./session.js";

type EventMessage = Exclude<MessageToMonitor, Command>;

export interface ControlServerOptions {
  listen: Address;
  /** random, of this start of the monitor */
  incarnation: bigint;
  handshakeTimeoutMs?: number;
  clock?: Clock;
}

const maxConnections = 4096;
const defaultHandshakeTimeoutMs = 3000;

export class ControlServer {
  private readonly sessions = new Set<Session>();
  /** by id; only OSDs */
  private readonly osdSessions = new Map<number, Session>();
  /** labels of the daemons behind client sessions */
  private readonly clientLabels = new Map<Session, string>();
  /** since the start, by the reason's code */
  private readonly refused = new Map<ErrorCode, number>();
  /** commands that were answered with an error since the start, by verb and code */
  private readonly refusedCommands = new Map<string, Map<ErrorCode, number>>();
  private readonly host: SessionHost;
  private readonly server: Server;
  private stopping = false;

  /** Listens nowhere before start() or the caller's own accept(). */
  constructor(
    private readonly cluster: Cluster,
    private readonly log: Logger,
    private readonly options: ControlServerOptions,
    startedMs: number,
  ) {
    const commands: CommandContext = { cluster, sessions: () => this.sessions.size, startedMs };
    this.host = {
      ours: helloOf(cluster.map(), options.incarnation),
      log,
      clock: options.clock ?? systemClock,
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? defaultHandshakeTimeoutMs,
      onReady: (session) => this.ready(session),
      onMessage: (session, message) => this.take(session, message),
      onRefused: (code) => this.refused.set(code, (this.refused.get(code) ?? 0) + 1),
      onClosed: (session) => this.gone(session),
      runCommand: (verb, args) => runCommand(commands, verb, args),
      onCommandRefused: (verb, code) => this.countCommand(verb, code),
      mapsSince: (fromEpoch, haveHash) => cluster.mapsSince(fromEpoch, haveHash),
      newestEpoch: () => cluster.map().epoch,
    };
    this.server = createServer((socket) => {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 10_000);
      this.accept(socket);
    });
    this.server.maxConnections = maxConnections;
    cluster.addListener({
      onMap: (map, previous) => this.publish(map, previous),
      onRefuse: (osd, error) => this.osdSessions.get(osd)?.refuse(error),
      onTell: (osd, message) => this.osdSessions.get(osd)?.send(message),
      onResend: (osd) => this.osdSessions.get(osd)?.resendMaps(),
    });
  }

  /** @throws address_in_use, permission_denied, invalid_argument */
  static async start(
    cluster: Cluster,
    log: Logger,
    options: ControlServerOptions,
    startedMs: number,
  ): Promise<ControlServer> {
    const control = new ControlServer(cluster, log, options, startedMs);
    await control.listen();
    return control;
  }

  /** A new connection. */
  accept(stream: ControlStream): void {
    this.sessions.add(new Session(stream, this.host));
  }

  /** Where it listens. */
  address(): Address {
    const bound = this.server.address();
    const port = typeof bound === "object" && bound !== null ? bound.port : 0;
    return { host: this.options.listen.host, port };
  }

  sessionCount(): number {
    return this.sessions.size;
  }

  /** Connections that ended because of who the peer was or what it sent, by code. */
  refusedConnections(): ReadonlyMap<ErrorCode, number> {
    return this.refused;
  }

  /** Commands that were answered with an error, by verb and code. */
  commandsRefused(): ReadonlyMap<string, ReadonlyMap<ErrorCode, number>> {
    return this.refusedCommands;
  }

  /** Closes all connections; no OSD counts as gone because of that. */
  async close(): Promise<void> {
    this.stopping = true;
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const session of [...this.sessions]) session.end("the monitor is stopping");
    await closed;
  }

  /** What is no verb counts as one: whoever invents them must not fill the memory. */
  private countCommand(verb: string, code: ErrorCode): void {
    const known = Object.hasOwn(commandSchemas, verb) ? verb : "unknown";
    const byCode = this.refusedCommands.get(known) ?? new Map<ErrorCode, number>();
    byCode.set(code, (byCode.get(code) ?? 0) + 1);
    this.refusedCommands.set(known, byCode);
  }

  private listen(): Promise<void> {
    const { host, port } = this.options.listen;
    return new Promise((resolve, reject) => {
      this.server.once("error", (error) => {
        reject(listenError(error, "the control protocol", { host, port }));
      });
      this.server.listen(port, host, () => {
        this.server.removeAllListeners("error");
        this.server.on("error", (error) => this.log.error({ reason: error.message }, "accept"));
        resolve();
      });
    });
  }

  private publish(map: OsdMap, previous: OsdMap): void {
    for (const session of this.sessions) {
      session.pushMaps();
      const label = this.labelOf(session);
      if (label === undefined) continue;
      const level = logLevelFor(map, label);
      if (level !== logLevelFor(previous, label)) session.setLogLevel(level ?? "info");
    }
  }

  /** The daemon's name in settings and metrics; undefined: not known yet. */
  private labelOf(session: Session): string | undefined {
    for (const [id, other] of this.osdSessions) if (other === session) return `osd.${id}`;
    return this.clientLabels.get(session);
  }

  private ready(session: Session): void {
    const osd = session.osdId();
    if (osd === undefined) return;
    const known = findOsd(this.cluster.map(), osd);
    const isServed = known?.up && this.osdSessions.get(osd)?.incarnation() === known.incarnation;
    if (!isServed || session.incarnation() === known.incarnation) this.seat(session, osd);
  }

  /** The session becomes that of the OSD; the one before it ends. */
  private seat(session: Session, osd: number): void {
    const before = this.osdSessions.get(osd);
    this.osdSessions.set(osd, session);
    before?.end("the same OSD has connected anew");
    this.sendLogLevel(session, `osd.${osd}`);
    this.cluster.handle({ kind: "osdConnected", osd, incarnation: session.incarnation() });
  }

  private sendLogLevel(session: Session, label: string): void {
    const level = logLevelFor(this.cluster.map(), label);
    if (level !== undefined) session.setLogLevel(level);
  }

  private gone(session: Session): void {
    this.sessions.delete(session);
    if (this.stopping) return;
    const label = this.clientLabels.get(session);
    this.clientLabels.delete(session);
    if (label !== undefined) this.cluster.stats.clients.delete(label);
    for (const [osd, other] of this.osdSessions) {
      if (other !== session) continue;
      this.osdSessions.delete(osd);
      this.cluster.stats.osds.delete(osd);
      this.cluster.handle({ kind: "osdDisconnected", osd, incarnation: session.incarnation() });
    }
  }

  private take(session: Session, message: EventMessage): void {
    if (message.kind === "subscribe") return;
    if (message.kind === "clientStats") {
      this.takeClientStats(session, message.daemon);
      this.cluster.reportClient(message);
      return;
    }
    const sender = "reporter" in message ? message.reporter : message.osd;
    if (session.osdId() !== sender) {
      throw new StorageError("protocol_error", `${message.kind} in the name of osd.${sender}`);
    }
    if (message.kind === "osdBoot") {
      this.takeBoot(session, message);
      return;
    }
    if (message.kind === "osdStartRefused") {
      this.takeStartRefused(session, message);
      return;
    }
    const known = findOsd(this.cluster.map(), sender);
    if (known?.incarnation !== session.incarnation()) return;
    if (message.kind === "osdStats") this.cluster.reportOsd(message);
    else this.cluster.handle(message);
  }

  private takeBoot(session: Session, boot: OsdBoot): void {
    if (boot.incarnation !== session.incarnation()) {
      throw new StorageError("protocol_error", "osdBoot of another incarnation than the hello");
    }
    if (this.osdSessions.get(boot.osd) !== session) {
      const refusal = bootRefusal(boot, this.cluster.map());
      if (refusal !== undefined) {
        session.refuse(refusal);
        return;
      }
      this.seat(session, boot.osd);
    }
    this.cluster.handle(boot);
  }

  /** Not a word of the OSD that is up, if there is one: that one's session is another. */
  private takeStartRefused(session: Session, message: OsdStartRefused): void {
    const { osd, uuid } = message;
    const known = findOsd(this.cluster.map(), osd);
    if (known !== undefined && uuid !== undefined && known.uuid !== uuid) {
      const text = `osd.${osd} of this cluster has the store ${known.uuid}, not ${uuid}`;
      session.refuse(new StorageError("wrong_daemon", text));
      return;
    }
    const isServed = known?.up === true && this.osdSessions.get(osd) !== session;
    this.cluster.reportStartRefused(message, isServed);
    session.end("it could not start");
  }

  private takeClientStats(session: Session, daemon: string): void {
    if (session.osdId() !== undefined || !daemon.startsWith("client.")) {
      throw new StorageError("protocol_error", `clientStats in the name of ${daemon}`);
    }
    const before = this.clientLabels.get(session);
    if (before === daemon) return;
    if (before !== undefined) this.cluster.stats.clients.delete(before);
    this.clientLabels.set(session, daemon);
    this.sendLogLevel(session, daemon);
  }
}

function helloOf(map: OsdMap, incarnation: bigint): Hello {
  return {
    version: protocolVersion,
    cluster: clusterBytes(map.clusterId),
    self: { kind: "monitor", id: 0n, incarnation },
    requiredFeatures: 0,
    supportedFeatures: 0,
    expected: undefined,
    refusal: undefined,
  };
}

/** The error of a listen that failed, saying which and what to do. */
export function listenError(thrown: unknown, what: string, { host, port }: Address): StorageError {
  const error = toStorageError(thrown, `listen for ${what} on ${host}:${port}`);
  if (error.code !== "address_in_use") return error;
  return new StorageError(error.code, `${host}:${port} (for ${what}) is in use`, {
    remedy: "Stop the process that listens there, or choose another port.",
    cause: thrown,
  });
}
