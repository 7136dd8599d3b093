// Errors of the native core as StorageErrors.
import { isErrorCode, StorageError, toStorageError } from "../common/errors.js";

/**
 * @param doing what was tried, for the message: "open the store /x"
 */
export function nativeError(thrown: unknown, doing: string): StorageError {
  const code = (thrown as { code?: unknown } | null)?.code;
  if (!isErrorCode(code) || !(thrown instanceof Error)) return toStorageError(thrown, doing);
  return new StorageError(code, `cannot ${doing}: ${thrown.message}`, { cause: thrown });
}
