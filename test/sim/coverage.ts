// What the simulation has reached of the rare branches: marks in the native core (Probe), and the
// steps of the peering machine. A branch that no seed reaches has not been tested.
import { native } from "../../native/index.js";
import { successors } from "../../osd/peering/machine.js";
import type { PgEventKind, PgStateName } from "../../osd/peering/state.js";

/** Branches that the default seeds need not reach: why, and the test that does. */
export const exempt: Readonly<Record<string, { why: string; test: string }>> = {
  pg_removed_behind_a_split: {
    why: "needs a pool that is removed, or a copy that is moved away, in the middle of a split",
    test: "native/core/pg/pg_split_test.cc",
  },
  pg_dup_floor_given_up: {
    why: "needs more than 16384 clients of one PG",
    test: "native/core/pg/dup_horizon_test.cc",
  },
  pg_source_had_other_version: {
    why: "needs a primary that lacks a version of which strays have only older ones: a few seeds",
    test: "native/core/pg/missing_test.cc",
  },
  "peering WaitActing -> GetInfo": {
    why: "needs the authority to die in the moment before the monitor answers: a few seeds",
    test: "osd/peering/pg-temp.test.ts",
  },
  pg_trim_in_parts: {
    why: "needs more than 64 clones of one object",
    test: "native/core/pg/snap_trim_test.cc",
  },
  pg_snap_set_too_large: {
    why: "needs thousands of snapshots of one object",
    test: "native/core/pg/snapshots_test.cc",
  },
  pg_read_from_other_copy: {
    why: "needs a disk that gives a copy back neither before nor after its repair",
    test: "native/core/pg/read_repair_test.cc",
  },
  pg_read_from_other_copy_waits: {
    why: "needs two reads of one object at that moment",
    test: "native/core/pg/read_repair_test.cc",
  },
  pg_unread_is_asked_again: {
    why: "needs a disk that fails just when an object's metadata has to be read from it",
    test: "native/core/pg/read_repair_test.cc",
  },
  pg_read_met_fill: {
    why: "needs a read that is slower than the whole filling of what it reads",
    test: "native/core/pg/layer_fill_test.cc",
  },
  pg_answered_request_refused: {
    why: "needs a copy of a request that comes when its client has had the answer",
    test: "native/core/pg/late_copy_test.cc",
  },
  pg_scrub_place_taken: {
    why: "needs two PGs scrubbed at once, while those of a simulated cluster take milliseconds",
    test: "native/core/pg/scrub_test.cc",
  },
};

export class Coverage {
  private readonly transitions = new Map<string, number>();
  private readonly events = new Map<string, number>();

  pgStep(from: PgStateName, event: PgEventKind, to: PgStateName): void {
    count(this.events, `${from} ${event}`);
    if (from !== to) count(this.transitions, `${from} -> ${to}`);
  }

  /** Hits of every mark; those that never were hit too. */
  hits(): Map<string, number> {
    const hits = new Map<string, number>();
    for (const [name, times] of Object.entries(native.probes())) {
      // Marks of what no simulated cluster contains (rings, images) belong to other harnesses.
      if (/^(pg|objecter|store|net)_/.test(name)) hits.set(name, times);
    }
    for (const [from, nexts] of Object.entries(successors)) {
      for (const to of Object.keys(nexts)) {
        const name = `${from} -> ${to}`;
        hits.set(`peering ${name}`, (this.transitions.get(name) ?? 0) + this.passed(from, to));
      }
    }
    return hits;
  }

  neverReached(): string[] {
    return [...this.hits()]
      .filter(([name, times]) => times === 0 && exempt[name] === undefined)
      .map(([name]) => name);
  }

  /** A step may pass through states without staying in them; then it is seen as a longer one. */
  private passed(from: string, to: string): number {
    let times = 0;
    for (const [name, hits] of this.transitions) {
      const [start, end] = name.split(" -> ") as [string, string];
      if (start === from && end === to) continue;
      if (pathsThrough(start, end).some(([a, b]) => a === from && b === to)) times += hits;
    }
    return times;
  }
}

function count(map: Map<string, number>, name: string): void {
  map.set(name, (map.get(name) ?? 0) + 1);
}

/** The edges of the only simple path from one state to another; none when there are several. */
function pathsThrough(start: string, end: string): [string, string][] {
  const paths: [string, string][][] = [];
  const walk = (at: string, edges: [string, string][]): void => {
    if (at === end) {
      paths.push(edges);
      return;
    }
    for (const next of Object.keys(successors[at as PgStateName])) {
      if (next === start || edges.some(([, seen]) => seen === next)) continue;
      walk(next, [...edges, [at, next]]);
    }
  };
  walk(start, []);
  return paths.length === 1 ? (paths[0] ?? []) : [];
}
