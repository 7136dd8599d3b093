// Invariants. What the outside can cause is a StorageError (errors.ts); a false assertion is a bug
// of Cairn, and the daemon should not go on.

/** Thrown when an invariant does not hold. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Stays on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(`assertion failed: ${message}`);
}

/** The value, which an invariant says is there. */
export function defined<T>(value: T | undefined | null, what: string): T {
  assert(value !== undefined && value !== null, `${what} is missing`);
  return value;
}

/** For the default case of a switch over a union: a type error when a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`unexpected value ${JSON.stringify(value)}`);
}
