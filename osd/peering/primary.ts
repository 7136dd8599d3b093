// What the primary of a PG does: hears all who may know of writes, chooses the authoritative log,
// finds out what each member lacks, activates them, serves, and has the PG recovered. Pure handlers
// of the table in machine.ts.
import { defined } from "../../common/assert.js";
import {
  logPageEntries,
  type LogVersion,
  objectPageNames,
  type PeeringBody,
  type PeeringBodyOf,
  type PgInfo,
} from "../../proto/peering.js";
import {
  backfillPlan,
  chooseAuthority,
  joiningPlan,
  type Relation,
  relate,
  sameVersion,
} from "./merge-log.js";
import { blockingIntervals, historySince, holders, mergeHistories } from "./past-intervals.js";
import { answered, pendingTo, request, resend, withEntry, withGathered } from "./requests.js";
import type {
  Gathered,
  LogCopy,
  MemberPlan,
  PgEffect,
  PgEventOf,
  PgState,
  PgStateName,
  Step,
} from "./state.js";

/** Handler of an event in a state. */
export type Handler<Kind extends PgEventOf<never>["kind"] | string> = Kind extends string
  ? (state: PgState, event: PgEventOf<Extract<Kind, PgEventKindOf>>, now: number) => Step
  : never;
type PgEventKindOf = Parameters<typeof kindOf>[0]["kind"];
declare function kindOf(event: import("./state.js").PgEvent): void;
