// Takes exact numbers of bytes from a stream, in order.
import type { Readable } from "node:stream";

export class ByteReader {
  private chunks: Buffer[] = [];
  private available = 0;
  private wanted = 0;
  private wake: (() => void) | undefined;
  private ended: Error | undefined;

  constructor(stream: Readable, name: string) {
    stream.on("data", (chunk: Buffer) => {
      this.chunks.push(chunk);
      this.available += chunk.length;
      if (this.available >= this.wanted) this.wake?.();
    });
    const end = (error?: Error) => {
      this.ended ??= error ?? new Error(`${name} has closed the connection`);
      this.wake?.();
    };
    stream.on("error", end);
    stream.on("close", () => end());
  }

  /** @throws when the stream ends before; one caller at a time */
  async take(length: number): Promise<Buffer> {
    while (this.available < length) {
      if (this.ended !== undefined) throw this.ended;
      this.wanted = length;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const all =
      this.chunks.length === 1 ? (this.chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(this.chunks);
    const rest = all.subarray(length);
    this.chunks = rest.length === 0 ? [] : [rest];
    this.available = rest.length;
    return all.subarray(0, length);
  }
}
