// `cairn osd set`, `unset`: the flags of the cluster map; `osd primary-affinity`: how many PGs an
// OSD leads.
import type { MapFlag } from "../proto/map-flags.js";
import { withMonitor } from "./connect.js";
import type { ClusterOptions } from "./options.js";
import { printResult } from "./output.js";

/** `cairn osd set` or `unset`. */
export const flagAction =
  (verb: "set" | "unset") =>
  async (flag: MapFlag, options: ClusterOptions): Promise<void> => {
    const { epoch } = await withMonitor(options, (monitor) =>
      monitor.command(`osd ${verb}`, { flag }),
    );
    printResult(options, { flag, epoch }, () => `${flag} is ${verb} (epoch ${epoch})`);
  };

export async function affinityAction(
  id: number,
  share: number,
  options: ClusterOptions,
): Promise<void> {
  const { epoch } = await withMonitor(options, (monitor) =>
    monitor.command("osd primary affinity", { id, share }),
  );
  printResult(
    options,
    { id, share, epoch },
    () => `osd.${id} has primary affinity ${share} (epoch ${epoch})`,
  );
}
