// One end of the byte stream under a control connection, as a port: a TCP socket, or a simulated
// one in virtual time. A net.Socket is one as it is.
import type { Address } from "../common/config.js";

export interface ControlStream {
  /** bytes written and not yet on their way */
  readonly writableLength: number;
  readonly remoteAddress?: string | undefined;
  write(bytes: Uint8Array): boolean;
  /** Closes behind what was written; done is called when that has left. */
  end(done?: () => void): unknown;
  /** Closes at once. */
  destroy(): unknown;
  on(event: "connect" | "drain" | "close", listener: () => void): unknown;
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  once(event: "close", listener: () => void): unknown;
}

/** Begins to connect; "connect", or "error" and "close", follow. */
export type DialControl = (address: Address) => ControlStream;
