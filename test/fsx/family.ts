// The images of a run, as far as the drawing of operations has to know them: the one that is worked
// on, those that it descends from, and their snapshots. Pure.
import { assert } from "../../common/assert.js";

/** Images and snapshots have numbers that are never used again. */
export type FamilyOperation =
  | { kind: "snapCreate"; snapshot: number }
  | { kind: "snapRemove"; image: number; snapshot: number }
  /** of the image that is worked on */
  | { kind: "rollback"; snapshot: number }
  /** work goes on with a clone, number `clone`, of a snapshot of any image */
  | { kind: "clone"; image: number; snapshot: number; clone: number }
  | { kind: "flatten" }
  /** removes all images but the one that is worked on, and its snapshots that still need them */
  | { kind: "retire"; snapshots: number[]; images: number[] };

export interface FamilySnapshot {
  image: number;
  snapshot: number;
  sizeBytes: number;
  /** it may show something of a parent */
  hasParent: boolean;
}

interface FamilyImage {
  image: number;
  sizeBytes: number;
  /** it may have a parent */
  hasParent: boolean;
  snapshots: FamilySnapshot[];
}

/** of an image */
const maxSnapshots = 4;
/** so a clone's parent, its parent's parent and one more can be below it */
const maxImages = 4;

export class Family {
  private images: FamilyImage[];
  private nextImage = 1;
  private nextSnapshot = 0;

  constructor(
    sizeBytes: number,
    /** uniform in [0, bound) */
    private readonly below: (bound: number) => number,
  ) {
    this.images = [{ image: 0, sizeBytes, hasParent: false, snapshots: [] }];
  }

  /** The image that is worked on. */
  private get current(): FamilyImage {
    const current = this.images.at(-1);
    assert(current !== undefined, "an image is always worked on");
    return current;
  }

  get sizeBytes(): number {
    return this.current.sizeBytes;
  }

  set sizeBytes(sizeBytes: number) {
    this.current.sizeBytes = sizeBytes;
  }

  /** One of all images; undefined: there is none. */
  anySnapshot(): FamilySnapshot | undefined {
    return this.pick(this.images.flatMap(({ snapshots }) => snapshots));
  }

  /** What comes of the wish for an operation: where it can't be, one that leads there. */
  next(wish: FamilyOperation["kind"]): FamilyOperation {
    switch (wish) {
      case "snapCreate":
        return this.create();
      case "snapRemove":
        return this.remove(this.anySnapshot());
      case "rollback":
        return this.rollback();
      case "flatten":
        return this.current.hasParent ? this.flatten() : this.clone();
      case "clone":
        return this.clone();
      case "retire":
        return this.current.hasParent ? this.flatten() : this.retire();
    }
  }

  private pick(snapshots: readonly FamilySnapshot[]): FamilySnapshot | undefined {
    return snapshots.length === 0 ? undefined : snapshots[this.below(snapshots.length)];
  }

  private create(): FamilyOperation {
    const { current } = this;
    if (current.snapshots.length >= maxSnapshots) return this.remove(this.pick(current.snapshots));
    const snapshot = this.nextSnapshot++;
    const { image, sizeBytes } = current;
    const { hasParent } = current;
    current.snapshots.push({ image, snapshot, sizeBytes, hasParent });
    return { kind: "snapCreate", snapshot };
  }

  private remove(chosen: FamilySnapshot | undefined): FamilyOperation {
    if (chosen === undefined) return this.create();
    for (const image of this.images) {
      image.snapshots = image.snapshots.filter((other) => other !== chosen);
    }
    return { kind: "snapRemove", image: chosen.image, snapshot: chosen.snapshot };
  }

  private rollback(): FamilyOperation {
    const chosen = this.pick(this.current.snapshots);
    if (chosen === undefined) return this.create();
    const { sizeBytes, hasParent } = chosen;
    Object.assign(this.current, { sizeBytes, hasParent });
    return { kind: "rollback", snapshot: chosen.snapshot };
  }

  private clone(): FamilyOperation {
    if (this.images.length >= maxImages) return this.next("retire");
    const chosen = this.anySnapshot();
    if (chosen === undefined) return this.create();
    const { image, snapshot, sizeBytes } = chosen;
    const clone = this.nextImage++;
    this.images.push({ image: clone, sizeBytes, hasParent: true, snapshots: [] });
    return { kind: "clone", image, snapshot, clone };
  }

  private flatten(): FamilyOperation {
    // With its snapshots, also with those that are taken meanwhile (deep-flatten).
    for (const snapshot of this.current.snapshots) snapshot.hasParent = false;
    this.current.hasParent = false;
    return { kind: "flatten" };
  }

  private retire(): FamilyOperation {
    const { current } = this;
    const gone = current.snapshots.filter(({ hasParent }) => hasParent);
    current.snapshots = current.snapshots.filter(({ hasParent }) => !hasParent);
    // A clone is younger than its parent, and goes before it.
    const images = this.images.filter((other) => other !== current).map(({ image }) => image);
    this.images = [current];
    const snapshots = gone.map(({ snapshot }) => snapshot);
    return { kind: "retire", snapshots, images: images.reverse() };
  }
}
