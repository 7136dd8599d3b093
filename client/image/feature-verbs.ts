// Enabling and disabling features of images by name.
import { makeChange } from "./exclusive.js";
import { featureNames, type ImageFeature } from "./features.js";
import type { Scope } from "./scope.js";

export class Features {
  constructor(private readonly scope: Scope) {}

  /** @throws not_found, invalid_argument */
  async enable(image: string, features: readonly ImageFeature[]): Promise<ImageFeature[]> {
    return this.change(image, features, []);
  }

  /** @throws not_found, invalid_argument; busy when one is in use */
  async disable(image: string, features: readonly ImageFeature[]): Promise<ImageFeature[]> {
    return this.change(image, [], features);
  }

  private async change(
    image: string,
    enable: readonly ImageFeature[],
    disable: readonly ImageFeature[],
  ): Promise<ImageFeature[]> {
    const id = await this.scope.idOf(image);
    const change = { kind: "features" as const, enable: [...enable], disable: [...disable] };
    await makeChange(this.scope, id, change);
    return featureNames((await this.scope.header(id)).features);
  }
}
