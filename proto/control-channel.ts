// One control connection, seen from either end: handshake, then control frames. Pure: bytes in,
// events and bytes out; the socket is the caller's. docs/protocol/monitor.md
//
// Invariants: no message comes out before the handshake; until then only hello-sized frames are
// accepted; after an error or a refusal nothing comes out any more.
import { StorageError } from "../common/errors.js";
import type { Crc32c } from "./crc32c.js";
import { FrameDecoder, FrameEncoder, fullLimits } from "./frame.js";
import { checkHello, decodeHello, encodeHello, type Hello, helloLimits } from "./handshake.js";

export interface ChannelOptions {
  /** our hello; a dialer that does not know the cluster's id sets 16 zeros there */
  ours: Hello;
  role: "dialer" | "acceptor";
  /** acceptors only: also accept clients whose cluster id is 16 zeros */
  acceptAnyCluster?: boolean;
  crc32c?: Crc32c;
}

export type ChannelEvent =
  /** write these bytes */
  | { kind: "send"; bytes: Uint8Array }
  /** the handshake is done */
  | { kind: "ready"; peer: Hello }
  /** meta of a control frame */
  | { kind: "message"; meta: Uint8Array }
  /** the handshake has failed: write what came before, then close */
  | { kind: "refused"; error: StorageError };

export class ControlChannel {
  private readonly decoder: FrameDecoder;
  private readonly encoder: FrameEncoder;
  private peer: Hello | undefined;
  private over = false;

  constructor(private readonly options: ChannelOptions) {
    this.decoder = new FrameDecoder(helloLimits, options.crc32c);
    this.encoder = new FrameEncoder(options.crc32c);
  }

  /** The dialer's first bytes. */
  hello(): Uint8Array {
    return this.encoder.encode("hello", encodeHello(this.options.ours));
  }

  /** The bytes of a control frame; they must leave in the order of the calls. */
  encode(meta: Uint8Array): Uint8Array {
    return this.encoder.encode("control", meta);
  }

  /**
   * What a chunk of the byte stream completes.
   * @throws protocol_error: close the connection
   */
  *receive(chunk: Uint8Array): Generator<ChannelEvent, void, undefined> {
    for (const frame of this.decoder.push(chunk)) {
      if (this.over) return;
      if (this.peer === undefined) {
        if (frame.type !== "hello") {
          throw new StorageError("protocol_error", `${frame.type} frame before the handshake`);
        }
        yield* this.shakeHands(decodeHello(frame.meta));
      } else if (frame.type === "control" && frame.data.length === 0) {
        yield { kind: "message", meta: frame.meta };
      } else {
        throw new StorageError("protocol_error", `${frame.type} frame on a control connection`);
      }
    }
  }

  private *shakeHands(theirs: Hello): Generator<ChannelEvent, void, undefined> {
    const { ours, role } = this.options;
    const error = checkHello(this.agreedCluster(theirs), theirs);
    if (role === "acceptor") {
      const answer: Hello = { ...ours, refusal: error?.code };
      yield { kind: "send", bytes: this.encoder.encode("hello", encodeHello(answer)) };
    }
    if (error !== undefined) {
      this.over = true;
      yield { kind: "refused", error };
      return;
    }
    this.peer = theirs;
    this.decoder.setLimits({ ...fullLimits, maxDataBytes: 0 });
    yield { kind: "ready", peer: theirs };
  }

  /** Our hello, with the peer's cluster id where one side leaves it open. */
  private agreedCluster(theirs: Hello): Hello {
    const { ours, role, acceptAnyCluster } = this.options;
    const open =
      role === "dialer"
        ? isZero(ours.cluster)
        : acceptAnyCluster === true && theirs.self.kind === "client" && isZero(theirs.cluster);
    return open ? { ...ours, cluster: theirs.cluster } : ours;
  }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** The 16 bytes of a UUID in text form; undefined: 16 zeros. */
export function clusterBytes(uuid: string | undefined): Uint8Array {
  const hex = uuid?.replaceAll("-", "") ?? "";
  return Uint8Array.from({ length: 16 }, (_, at) =>
    Number.parseInt(hex.slice(2 * at, 2 * at + 2) || "0", 16),
  );
}
