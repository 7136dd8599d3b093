// What a verb of the CLI is: a row of the table in verbs/. The parser, the help, the completion and
// docs/operating/cli.md are all made from these rows. The types tie a row to its action: an action
// that takes other arguments than its row declares does not compile.

/** What can be completed in a place of the command line. */
export type Completion =
  | "none"
  | "file"
  | "folder"
  | "verb"
  | "pool"
  | "namespace"
  | "image"
  | "snap"
  | "snapId"
  | "imageOrSnap"
  | "group"
  | "trashId"
  | "feature"
  | "osd";

declare const valueType: unique symbol;

/** An option; its long name is its key in the row's options. */
export interface OptionRow<T = unknown> {
  readonly [valueType]?: T;
  /** negated: --no-NAME */
  readonly kind: "flag" | "negated" | "value";
  readonly help: string;
  /** "s" for -s */
  readonly short?: string;
  /** of its value, as the usage shows it: "size", "host:port" */
  readonly metavar?: string;
  readonly parse?: (text: string) => unknown;
  readonly choices?: readonly string[];
  readonly otherwise?: unknown;
  /** in place of `otherwise`: found out when the verb runs. May throw. */
  readonly otherwiseOf?: () => unknown;
  /** how the help shows the default */
  readonly otherwiseText?: string;
  readonly mandatory?: true;
  /** may be given again; all values are kept */
  readonly repeats?: true;
  readonly env?: string;
  readonly conflicts?: string;
  readonly completes?: Completion;
}

export type OptionRows = Readonly<Record<string, OptionRow>>;

/** Options as they were given: by their keys, parsed. */
export type GivenFlags = Readonly<Record<string, unknown>>;

/** A place for words behind the verb. */
export interface Slot<T = unknown> {
  /** as the usage shows it: "pool/image" */
  readonly metavar: string;
  readonly help: string;
  readonly optional: boolean;
  /** takes all words that are left */
  readonly variadic?: true;
  readonly completes: Completion;
  readonly choices?: readonly string[];
  /** options that name the same in parts: --pool, --image */
  readonly options: OptionRows;
  /** True when options name it, so that it takes no word. */
  named(flags: GivenFlags): boolean;
  /**
   * @param words none when it is left out or named by options
   * @throws invalid_argument
   */
  read(words: readonly string[], flags: GivenFlags): T;
}

type SlotValue<S> = S extends Slot<infer T> ? T : never;
type SlotValues<S extends readonly Slot[]> = { -readonly [I in keyof S]: SlotValue<S[I]> };

type OptionValue<O> = O extends OptionRow<infer T> ? T : never;
type GivenKeys<O> = { [K in keyof O]: undefined extends OptionValue<O[K]> ? never : K }[keyof O];
/** What the action gets of the options. */
export type Flags<O extends OptionRows> = { [K in GivenKeys<O>]: OptionValue<O[K]> } & {
  [K in Exclude<keyof O, GivenKeys<O>>]?: Exclude<OptionValue<O[K]>, undefined>;
};

export type Action = (...values: unknown[]) => Promise<void>;

/** A row of the table. */
export interface Verb {
  /** its words: "snap create" */
  readonly name: string;
  /** other names, in full: "snap add" */
  readonly aliases: readonly string[];
  /** one line, for lists of verbs */
  readonly summary: string;
  /** paragraphs behind the summary */
  readonly details: readonly string[];
  readonly slots: readonly Slot[];
  readonly options: OptionRows;
  readonly examples: readonly string[];
  /** exit codes that mean more than usual */
  readonly exits: readonly string[];
  /** takes options that it does not know as words */
  readonly lenient?: true;
  /** Loads what carries it out: nothing heavy is loaded before. */
  readonly load: () => Promise<Action>;
}

interface VerbRow<S extends readonly Slot[], O extends OptionRows> {
  name: string;
  aliases?: readonly string[];
  summary: string;
  details?: readonly string[];
  slots?: S;
  options: O;
  examples: readonly [string, ...string[]];
  exits?: readonly string[];
  load(): Promise<(...values: [...SlotValues<S>, Flags<O>]) => Promise<void>>;
}

/** A row of the table, checked against its action. */
export function verb<const S extends readonly Slot[], const O extends OptionRows>(
  row: VerbRow<S, O>,
): Verb {
  const slots: readonly Slot[] = row.slots ?? [];
  return {
    name: row.name,
    aliases: row.aliases ?? [],
    summary: row.summary,
    details: row.details ?? [],
    slots,
    options: Object.assign({}, ...slots.map(({ options }) => options), row.options),
    examples: row.examples,
    exits: row.exits ?? [],
    load: row.load as unknown as () => Promise<Action>,
  };
}

/** The verbs of one matter, under a heading. */
export interface Family {
  readonly title: string;
  readonly verbs: readonly Verb[];
}
