// What daemons tell each other of scrubs: the modes, and what a scrub found in a PG.
import { type Static, Type } from "@sinclair/typebox";
import { maxPoolSize, OsdIdSchema } from "./osd-map.js";

const closed = { additionalProperties: false } as const;
const CountSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** repair: a deep scrub that replaces bad copies. */
export const scrubModes = ["scrub", "deep-scrub", "repair"] as const;
export type ScrubMode = (typeof scrubModes)[number];
export const ScrubModeSchema = Type.Union(scrubModes.map((mode) => Type.Literal(mode)));

/** Chosen by whoever asks for a scrub, to see when it is done. */
export const ScrubRequestIdSchema = Type.Integer({ minimum: 1, maximum: 2 ** 48 });

/** Objects of a PG that are listed; more are only counted. */
export const maxInconsistentObjects = 64;
/** Bad blocks of a copy that are listed; more are only counted. */
export const maxBadBlocks = 64;

export const copyProblems = ["none", "missing", "extra", "differs", "unreadable"] as const;

export const InconsistentObjectSchema = Type.Object(
  {
    object: Type.String({ minLength: 1, maxLength: 255 }),
    /** OSDs whose copies are good; none: it cannot be repaired */
    good: Type.Array(OsdIdSchema, { maxItems: maxPoolSize }),
    bad: Type.Array(
      Type.Object(
        {
          osd: OsdIdSchema,
          /** of the copy as a whole; "none": only blocks are bad */
          problem: Type.Union(copyProblems.map((problem) => Type.Literal(problem))),
          /** 4 KiB blocks that do not match their checksums */
          badBlocks: Type.Array(CountSchema, { maxItems: maxBadBlocks }),
          badBlockCount: CountSchema,
        },
        closed,
      ),
      { maxItems: maxPoolSize },
    ),
  },
  closed,
);
export type InconsistentObject = Static<typeof InconsistentObjectSchema>;

/** A scrub that was asked for, when it is done. */
export const FinishedScrubSchema = Type.Object(
  {
    request: ScrubRequestIdSchema,
    objects: CountSchema,
    bytes: CountSchema,
    errors: CountSchema,
    repaired: CountSchema,
  },
  closed,
);
export type FinishedScrub = Static<typeof FinishedScrubSchema>;
export const maxFinishedScrubs = 8;

/** A PG's scrubs as its primary reports them. */
export const PgScrubSchema = Type.Object(
  {
    /** end of the last scrub of any kind, and of the last one that read the data; wall, 0: never */
    lastMs: CountSchema,
    lastDeepMs: CountSchema,
    /** bad blocks and bad copies that the last scrubs found and nothing has repaired */
    errors: CountSchema,
    objects: Type.Array(InconsistentObjectSchema, { maxItems: maxInconsistentObjects }),
    running: Type.Optional(ScrubModeSchema),
    /** the requests that were finished last, and what they did */
    finished: Type.Array(FinishedScrubSchema, { maxItems: maxFinishedScrubs }),
  },
  closed,
);
export type PgScrub = Static<typeof PgScrubSchema>;
