// `cairn osd set`, `unset`: the flags of the cluster map; `osd primary-affinity`: how many PGs an
// OSD leads.
import { Argument, type Command, InvalidArgumentError } from "commander";
import { type MapFlag, mapFlags } from "../proto/map-flags.js";
import { withMonitor } from "./connect.js";
import { type ClusterOptions, countValue, withCluster, withExamples } from "./options.js";
import { printResult } from "./output.js";

const flagHelp: Readonly<Record<MapFlag, string>> = {
  nobackfill: "no copy of a PG is made anew as a whole",
  "nodeep-scrub": "no deep scrub begins by schedule",
  nodown: "no OSD is marked down for not answering",
  noin: "an OSD that boots is not brought in",
  noout: "no OSD is marked out for being down",
  norebalance: "no backfill of PGs that have all their copies",
  norecover: "nothing is recovered but what clients wait for",
  noscrub: "no light scrub begins by schedule",
  nosnaptrim: "removed snapshots keep their space",
  noup: "no OSD that boots is marked up",
  pause: "clients hold all reads and writes",
};

/** Adds the verbs to `cairn osd`. */
export function registerOsdFlags(osd: Command): void {
  for (const verb of ["set", "unset"] as const) {
    const command = osd
      .command(verb)
      .description(
        verb === "set"
          ? "Set a flag: hold the cluster back from something that it does by itself."
          : "Take a flag away.",
      )
      .addArgument(new Argument("<flag>", "its name").choices(mapFlags));
    withCluster(command).action(async (flag: MapFlag, options: ClusterOptions) => {
      const { epoch } = await withMonitor(options, (monitor) =>
        monitor.command(`osd ${verb}`, { flag }),
      );
      printResult(options.format, { flag, epoch }, () => `${flag} is ${verb} (epoch ${epoch})`);
    });
    const lines = mapFlags.map((flag) => `  ${flag.padEnd(14)}${flagHelp[flag]}`);
    command.addHelpText("after", `\nFlags:\n${lines.join("\n")}`);
    withExamples(command, `cairn osd ${verb} noout`);
  }
  registerAffinity(osd);
}

function shareValue(text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError("It should be a number from 0 to 1.");
}

function registerAffinity(osd: Command): void {
  const command = osd
    .command("primary-affinity")
    .description("Set which share of the PGs that an OSD would lead it does lead.")
    .argument("<id>", "its number", countValue(0, 9999))
    .argument("<share>", "0: only those that no other OSD can lead; 1: all", shareValue);
  withCluster(command).action(async (id: number, share: number, options: ClusterOptions) => {
    const { epoch } = await withMonitor(options, (monitor) =>
      monitor.command("osd primary affinity", { id, share }),
    );
    printResult(
      options.format,
      { id, share, epoch },
      () => `osd.${id} has primary affinity ${share} (epoch ${epoch})`,
    );
  });
  withExamples(command, "cairn osd primary-affinity 2 0.5");
}
