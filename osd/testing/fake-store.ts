// What survives a restart of a fake OSD: its copies of PGs, as versions of objects without bytes,
// and its metadata. It asserts what the native core asserts.
import { assert, defined } from "../../common/assert.js";
import { type PgId, parsePgId } from "../../common/units.js";
import type {
  NativeActivation,
  NativeLogEntry,
  NativeMissing,
  NativePgInfo,
} from "../../native/index.js";
import type { LogEntry, LogVersion } from "../../proto/peering.js";

/** Entries that a copy keeps. */
export const logEntriesKept = 8;

export class FakeCopy {
  log: LogEntry[] = [];
  /** version of the entry at the tail */
  base: LogVersion = [0, 0];
  readonly objects = new Map<string, LogVersion>();
  readonly missing = new Map<string, NativeMissing>();
  lastEpochStarted = 0;
  /** number of the newest entry that the log has forgotten, in this copy or in one before it */
  horizon = 0;
  /** what is left of a granted read lease, and to whom; tests set it */
  leaseMs = 0;
  leaseHolder = -1;

  lastUpdate(): LogVersion {
    const head = this.log.at(-1);
    return head === undefined ? this.base : [head.epoch, head.number];
  }

  info(): NativePgInfo {
    return {
      lastUpdate: this.lastUpdate(),
      logTail: this.base[1],
      lastEpochStarted: this.lastEpochStarted,
      missingCount: this.missing.size,
      leaseMs: this.leaseMs,
      leaseHolder: this.leaseHolder,
    };
  }

  /** Applies a write or a removal. */
  write(entry: LogEntry): void {
    this.append(entry);
    if (entry.removes) this.objects.delete(entry.object);
    else this.objects.set(entry.object, [entry.epoch, entry.number]);
    while (this.log.length > logEntriesKept) {
      const oldest = defined(this.log.shift(), "the oldest entry");
      this.base = [oldest.epoch, oldest.number];
      this.horizon = oldest.number;
    }
  }

  activate(
    activation: Omit<NativeActivation, "peerMissing" | "sources" | "otherSources" | "leaseWaitMs">,
  ): void {
    if (activation.resetLogTo !== undefined) {
      this.log = [];
      this.base = [...activation.resetLogTo];
      const horizon = defined(activation.horizon?.[0], "the horizon of a log that replaces ours");
      this.horizon = Math.max(this.horizon, horizon);
    } else if (activation.rewindTo < this.lastUpdate()[1]) {
      assert(activation.rewindTo >= this.base[1], "the log reaches the rewind point");
      this.log = this.log.filter(({ number }) => number <= activation.rewindTo);
    }
    for (const bytes of activation.entries) this.append(decodeEntry(bytes));
    for (const missing of activation.missing) this.missing.set(missing[0], missing);
    this.lastEpochStarted = activation.interval;
  }

  /** True when this copy has what another one lacks. */
  has([name, need, removed]: NativeMissing): boolean {
    const has = this.objects.get(name);
    if (this.missing.has(name)) return false;
    if (need[1] === 0) return true;
    return removed ? has === undefined : `${has}` === `${need}`;
  }

  /** Takes an object as another copy has it, also its absence. */
  recover(object: string, from: FakeCopy): void {
    const version = from.objects.get(object);
    if (version === undefined) this.objects.delete(object);
    else this.objects.set(object, version);
    this.missing.delete(object);
  }

  /** Takes an object as gone. */
  remove(object: string): void {
    this.objects.delete(object);
    this.missing.delete(object);
  }

  private append(entry: LogEntry): void {
    assert(entry.number === this.lastUpdate()[1] + 1, "log entries have no gaps");
    this.log.push(entry);
  }
}

/** An entry with its stored form. */
export function makeEntry(entry: Omit<LogEntry, "bytes">): NativeLogEntry {
  return { ...entry, bytes: new TextEncoder().encode(JSON.stringify(entry)) };
}

function decodeEntry(bytes: Uint8Array): LogEntry {
  return { ...JSON.parse(new TextDecoder().decode(bytes)), bytes };
}

export class FakeStore {
  readonly copies = new Map<PgId, FakeCopy>();
  readonly meta = new Map<string, string>();

  copy(pgid: PgId): FakeCopy {
    let copy = this.copies.get(pgid);
    if (copy === undefined) {
      copy = new FakeCopy();
      this.copies.set(pgid, copy);
    }
    return copy;
  }

  /** What open() of the native core returns: only what was ever activated is on disk. */
  statuses() {
    return [...this.copies]
      .filter(([, copy]) => copy.lastEpochStarted > 0)
      .map(([pgid, copy]) => ({
        ...parsePgId(pgid),
        ...copy.info(),
        interval: 0,
        acting: [],
        role: "stray" as const,
        phase: "peering" as const,
        peerMissingCount: 0,
        objectCount: copy.objects.size,
        storedBytes: 0,
        scrubRecord: "",
        pgNum: 0,
      }));
  }
}
