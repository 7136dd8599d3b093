// Places for images and snapshots that can also be named by their ids: --image-id, --snap-id.
import { StorageError } from "../../common/errors.js";
import { countValue } from "../options.js";
import type { ImageAddress, ImageOrSnap } from "../spec.js";
import { asIs, optional } from "./option-rows.js";
import { imageOrSnapshot } from "./slots.js";
import type { GivenFlags, Slot } from "./verb.js";

const twice = (what: string, { name, id }: { name: string; id: string }) =>
  new StorageError("invalid_argument", `the ${what} is named twice`, {
    remedy: `Give its name, or ${name}, or ${id}; not two of them.`,
  });

/** The same, or by --image-id: then `image` is the id, too. */
export function orImageId<T extends ImageAddress>(slot: Slot<T>): Slot<T & { imageId?: string }> {
  const help = "the image's id, in place of its name: also of one in the trash";
  return {
    ...slot,
    options: {
      ...slot.options,
      imageId: optional("image-id", help, asIs, { completes: "trashId" }),
    },
    named: (flags) => flags.imageId !== undefined || slot.named(flags),
    read(words, flags) {
      const imageId = flags.imageId as string | undefined;
      if (imageId === undefined) return slot.read(words, flags);
      if (flags.image !== undefined) throw twice("image", { name: "--image", id: "--image-id" });
      return { ...slot.read(words, { ...flags, image: imageId }), imageId };
    },
  };
}

/** The same, or POOL/IMAGE with --snap-id. */
export function orSnapId(slot: Slot<ImageOrSnap>): Slot<ImageOrSnap & { snapId?: number }> {
  const help = "the snapshot's id, in place of its name: also of one that clones keep";
  const alone = imageOrSnapshot(slot.help);
  return {
    ...slot,
    options: {
      ...slot.options,
      snapId: optional("n", help, countValue(1, 999_999_999_999_999), { completes: "snapId" }),
    },
    read(words: readonly string[], flags: GivenFlags) {
      const snapId = flags.snapId as number | undefined;
      if (snapId === undefined) return slot.read(words, flags);
      const found = alone.read(words, flags);
      if (found.snap === undefined) return { ...found, snapId };
      throw twice("snapshot", { name: "--snap", id: "--snap-id" });
    },
  };
}
