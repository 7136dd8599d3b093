// Seeded randomness (sfc32 by Chris Doty-Humphrey, public domain): the same numbers everywhere.
import type { Random } from "../../common/ports.js";

export class SeededRandom implements Random {
  private a = 0;
  private b = 0;
  private c = 0;
  private counter = 1;

  constructor(seed: bigint) {
    this.a = Number(seed & 0xffff_ffffn) | 0;
    this.b = Number((seed >> 32n) & 0xffff_ffffn) | 0;
    this.c = 0x9e37_79b9 | 0;
    for (let round = 0; round < 15; round += 1) this.next();
  }

  /** Uniform over 32 bits, unsigned. */
  next(): number {
    const sum = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum;
    this.c |= 0;
    return sum >>> 0;
  }

  uint64(): bigint {
    return (BigInt(this.next()) << 32n) | BigInt(this.next());
  }

  below(bound: number): number {
    // 53 bits: the bias is far below anything a simulation could notice.
    const fraction = (this.next() * 2 ** 21 + (this.next() >>> 11)) / 2 ** 53;
    return Math.floor(fraction * bound);
  }

  between(lowest: number, highest: number): number {
    return lowest + this.below(highest - lowest + 1);
  }

  /** True in so many of a hundred cases. */
  percent(share: number): boolean {
    return this.below(100) < share;
  }

  pick<T>(items: readonly [T, ...T[]] | readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  uuid(): string {
    const hex = [this.next(), this.next(), this.next(), this.next()]
      .map((word) => word.toString(16).padStart(8, "0"))
      .join("");
    const variant = "89ab"[this.below(4)];
    return [
      hex.slice(0, 8),
      hex.slice(8, 12),
      `4${hex.slice(13, 16)}`,
      `${variant}${hex.slice(17, 20)}`,
      hex.slice(20, 32),
    ].join("-");
  }

  /** An independent generator: what draws from it changes nothing for others. */
  fork(): SeededRandom {
    return new SeededRandom(this.uint64());
  }
}
