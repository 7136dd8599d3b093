// Enabling and disabling features of an image, with exclusive access to it.
import type { ImageAccess } from "./access.js";
import { disabledFeatures, enabledFeatures, parseFeature } from "./features.js";
import { changeOnce } from "./header-change.js";
import { setStep, u64Value } from "./omap-values.js";

/** @throws invalid_argument, busy */
export async function changeFeatures(
  access: ImageAccess,
  { enable, disable }: { enable: string[]; disable: string[] },
): Promise<void> {
  const [on, off] = [enable.map(parseFeature), disable.map(parseFeature)];
  await access.quiesced(() =>
    changeOnce(access, ({ header, unchanged }) => {
      const image = {
        hasParent: header.parent !== undefined,
        hasChildren: header.snapshots.some(({ children }) => children > 0),
      };
      const enabled = on.length === 0 ? header.features : enabledFeatures(header.features, on);
      const features = off.length === 0 ? enabled : disabledFeatures(enabled, off, image);
      return [
        unchanged("features"),
        unchanged("snap_seq"),
        unchanged("parent"),
        setStep("features", u64Value(features)),
        // Tells a header with features from those of before they were defined.
        setStep("snap_seq", u64Value(header.snapSeq)),
      ];
    }),
  );
}
