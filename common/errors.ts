// The one error type of the TypeScript side. Its codes are those of
// native/core/base/error_codes.def (common.test.ts compares the two), so that an error keeps its
// meaning across the binding and the wire.

/** Code name -> number on the wire (docs/protocol/frame.md). Never renumber. */
export const errorNumbers = {
  invalid_argument: 1,
  not_found: 2,
  already_exists: 3,
  io_error: 4,
  no_space: 5,
  checksum_mismatch: 6,
  corrupt: 7,
  wrong_cluster: 8,
  wrong_daemon: 9,
  incompatible_version: 10,
  unsupported_feature: 11,
  busy: 12,
  timed_out: 13,
  canceled: 14,
  stale_epoch: 15,
  not_primary: 16,
  not_active: 17,
  disconnected: 18,
  read_only: 19,
  out_of_range: 20,
  protocol_error: 21,
  fenced: 22,
  too_large: 23,
  precondition_failed: 24,
  unfound: 25,
  permission_denied: 26,
  address_in_use: 27,
  too_old: 28,
  blocklisted: 29,
} as const;

export type ErrorCode = keyof typeof errorNumbers;

export const errorCodes = Object.keys(errorNumbers) as readonly ErrorCode[];

const codeByNumber = new Map<number, ErrorCode>(
  errorCodes.map((code) => [errorNumbers[code], code]),
);

/** True when text is one of the error codes. */
export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === "string" && Object.hasOwn(errorNumbers, text);
}

/** The code with that wire number; undefined for ok (0) and for unknown numbers. */
export function errorCodeOfNumber(number: number): ErrorCode | undefined {
  return codeByNumber.get(number);
}

export interface StorageErrorOptions {
  /** What the reader can do about it, as a sentence. */
  remedy?: string | undefined;
  cause?: unknown;
}

/** Every failure that the outside can cause. A broken invariant is an AssertionError instead. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly code: ErrorCode;
  readonly remedy: string | undefined;

  constructor(code: ErrorCode, message: string, options: StorageErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
  }

  /** The form in which an error crosses the wire and is printed as JSON. */
  toJSON(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.remedy === undefined ? {} : { remedy: this.remedy }),
    };
  }

  /** The error that toJSON() described. */
  static fromBody(body: ErrorBody): StorageError {
    return new StorageError(body.code, body.message, { remedy: body.remedy });
  }
}

/** An error as data. */
export interface ErrorBody {
  code: ErrorCode;
  message: string;
  remedy?: string;
}

/** system errno (of node:fs, node:net) -> code; anything else is an io_error. */
const codeOfErrno: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "not_found",
  EEXIST: "already_exists",
  EACCES: "permission_denied",
  EPERM: "permission_denied",
  EADDRINUSE: "address_in_use",
  EADDRNOTAVAIL: "invalid_argument",
  ENOSPC: "no_space",
  EROFS: "read_only",
  ECONNREFUSED: "disconnected",
  ECONNRESET: "disconnected",
  EPIPE: "disconnected",
  ETIMEDOUT: "timed_out",
  EINVAL: "invalid_argument",
};

/**
 * Any thrown value as a StorageError: StorageErrors as they are, native errors by their code,
 * system errors by their errno.
 * @param doing what was tried, for the message: "open /var/lib/x"
 */
export function toStorageError(thrown: unknown, doing?: string): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const errno = (thrown as { code?: unknown } | null)?.code;
  // Errors of the native core carry one of our own codes.
  const own = isErrorCode(errno) ? errno : undefined;
  const code = own ?? ((typeof errno === "string" && codeOfErrno[errno]) || "io_error");
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const message = doing === undefined ? text : `cannot ${doing}: ${withoutSystemCall(text)}`;
  return new StorageError(code, message, { cause: thrown });
}

/** "ENOENT: no such file or directory, open '/x'" -> "no such file or directory" */
function withoutSystemCall(text: string): string {
  return /^E[A-Z0-9]+: ([^,]+), [a-z]+(?: '.*')?$/s.exec(text)?.[1] ?? text;
}

/** Exit codes of bin/cairn. */
export const exitCodes = { success: 0, failure: 1, usage: 2 } as const;

/** The process exit code for an error: 2 when the arguments were wrong, else 1. */
export function exitCodeOf(error: unknown): number {
  const usage = error instanceof StorageError && error.code === "invalid_argument";
  return usage ? exitCodes.usage : exitCodes.failure;
}
