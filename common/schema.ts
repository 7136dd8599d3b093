// Checks of outside values against TypeBox schemas: once at the border, assertions inside.
import type { Static, TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { type ErrorCode, StorageError } from "./errors.js";

/** A schema, compiled when it is first used. */
export class Checker<Schema extends TSchema> {
  private compiledOnce: TypeCheck<Schema> | undefined;

  /**
   * @param what names the value in error messages: "monitor configuration"
   * @param code the error code of a value that does not fit
   */
  constructor(
    private readonly schema: Schema,
    private readonly what: string,
    private readonly code: ErrorCode,
  ) {}

  private get compiled(): TypeCheck<Schema> {
    this.compiledOnce ??= TypeCompiler.Compile(this.schema);
    return this.compiledOnce;
  }

  /** True when value fits. */
  fits(value: unknown): value is Static<Schema> {
    return this.compiled.Check(value);
  }

  /** The value itself, typed. @throws the code given above, naming the first place that is wrong */
  check(value: unknown): Static<Schema> {
    if (this.compiled.Check(value)) return value;
    const first = this.compiled.Errors(value).First();
    const where = first?.path ? ` at ${first.path}` : "";
    throw new StorageError(this.code, `bad ${this.what}${where}: ${first?.message ?? "no value"}`);
  }
}
