// Writes the store of a monitor anew: checks what the OSDs gave, plans the first map of the new
// generation (rebuild.ts), and makes a store that begins with it.
import { systemClock } from "../common/ports.js";
import { Checker } from "../common/schema.js";
import { planRebuild, type RebuildOptions, RebuildSourceSchema, type Rebuilt } from "./rebuild.js";
import { LevelMapStore } from "./store/level-map-store.js";

export type { Rebuilt } from "./rebuild.js";

const checker = new Checker(RebuildSourceSchema, "what an OSD has of the map", "corrupt");

/**
 * @param dataDir the monitor's new folder
 * @param sources RebuildSource values, not checked yet
 * @throws already_exists when the folder holds a store, and the errors of planRebuild(); nothing is
 *   left behind then
 */
export async function rebuild(
  dataDir: string,
  sources: readonly unknown[],
  options: Omit<RebuildOptions, "wallMs">,
): Promise<Rebuilt> {
  const checked = sources.map((source) => checker.check(source));
  const rebuilt = planRebuild(checked, { ...options, wallMs: systemClock.wallMs() });
  await LevelMapStore.create(dataDir, rebuilt.map);
  return rebuilt;
}
