// A stranger at a daemon's port: sends bytes of a test's own making, and hears what comes back.
import { connect } from "node:net";
import type { Address } from "../../common/config.js";
import type { ErrorCode } from "../../common/errors.js";
import { crc32c } from "../../proto/crc32c.js";
import { encodeFrame, FrameDecoder, frameHeaderBytes } from "../../proto/frame.js";
import { decodeHello } from "../../proto/handshake.js";

const answerTimeoutMs = 20_000;

/** What a stranger hears. */
export interface Answer {
  /** of the hello that came back; undefined: none came */
  refusal: ErrorCode | "welcome" | undefined;
  closed: boolean;
}

/**
 * Sends the first piece, and the others when a hello has come back; hears what comes until the
 * other side closes.
 */
export function send(to: Address, first: Uint8Array, ...rest: Uint8Array[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = connect(to.port, to.host);
    const decoder = new FrameDecoder();
    const answer: Answer = { refusal: undefined, closed: false };
    const timer = setTimeout(() => {
      socket.destroy();
      resolve(answer);
    }, answerTimeoutMs);
    socket.on("data", (chunk) => {
      try {
        for (const frame of decoder.push(chunk)) {
          if (frame.type !== "hello") continue;
          answer.refusal = decodeHello(frame.meta).refusal ?? "welcome";
          for (const piece of rest) socket.write(piece);
        }
      } catch (error) {
        reject(error);
      }
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve({ ...answer, closed: true });
    });
    socket.write(first);
  });
}

/** A header with these lengths and right checksums, and nothing behind it. */
export function headerOf(type: number, sequence: bigint, metaLength: number, dataLength: number) {
  const bytes = encodeFrame("ping", sequence, new Uint8Array(0));
  const view = new DataView(bytes.buffer);
  view.setUint8(5, type);
  view.setUint32(8, metaLength, true);
  view.setUint32(12, dataLength, true);
  view.setUint32(28, crc32c(bytes.subarray(0, 28), 0), true);
  return bytes.subarray(0, frameHeaderBytes);
}
