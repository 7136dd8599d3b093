// What all images of a run and their snapshots must hold. Pure.
import { assert } from "../../common/assert.js";
import { ImageModel } from "./model.js";

/** An image, or a snapshot of it. */
export interface Place {
  image: number;
  snapshot?: number;
}

export class FamilyModel {
  private readonly images = new Map<number, ImageModel>();
  private readonly snapshots = new Map<number, Map<number, ImageModel>>();
  private currentImage = 0;

  /** @param sizeBytes of image 0, which is blank */
  constructor(sizeBytes: number) {
    this.add(0, new ImageModel(sizeBytes));
  }

  /** Number of the image that is worked on. */
  get image(): number {
    return this.currentImage;
  }

  /** The image that is worked on. */
  get current(): ImageModel {
    return this.at({ image: this.currentImage });
  }

  at({ image, snapshot }: Place): ImageModel {
    const model =
      snapshot === undefined ? this.images.get(image) : this.snapshots.get(image)?.get(snapshot);
    assert(model !== undefined, `image ${image}, snapshot ${snapshot} is known`);
    return model;
  }

  /** An image and its snapshots. */
  placesOf(image: number): Place[] {
    const snapshots = [...(this.snapshots.get(image)?.keys() ?? [])];
    return [{ image }, ...snapshots.map((snapshot) => ({ image, snapshot }))];
  }

  /** All but the image that is worked on: its snapshots are among them. */
  placesAside(): Place[] {
    return [...this.images.keys()]
      .flatMap((image) => this.placesOf(image))
      .filter(({ image, snapshot }) => image !== this.image || snapshot !== undefined);
  }

  createSnapshot(snapshot: number): void {
    this.snapshots.get(this.image)?.set(snapshot, copyOf(this.current));
  }

  removeSnapshot({ image, snapshot }: Required<Place>): void {
    this.snapshots.get(image)?.delete(snapshot);
  }

  rollback(snapshot: number): void {
    this.current.become(this.at({ image: this.image, snapshot }));
  }

  /** Work goes on with the clone. */
  clone(snapshot: Required<Place>, clone: number): void {
    this.add(clone, copyOf(this.at(snapshot)));
    this.currentImage = clone;
  }

  removeImage(image: number): void {
    this.images.delete(image);
    this.snapshots.delete(image);
  }

  private add(image: number, model: ImageModel): void {
    this.images.set(image, model);
    this.snapshots.set(image, new Map());
  }
}

function copyOf(model: ImageModel): ImageModel {
  const copy = new ImageModel(model.sizeBytes);
  copy.become(model);
  return copy;
}
