// The verbs for the shell: `completion`.
import { asIs, clusterRows } from "../table/option-rows.js";
import { maybe, oneOf, rest } from "../table/slots.js";
import { type Family, verb } from "../table/verb.js";

const completion = verb({
  name: "completion",
  summary: "Print a script that has the shell complete cairn's verbs, options and names.",
  details: [
    "Pools, images, snapshots and OSDs are asked of the cluster while you type; CAIRN_DIR says " +
      "which one, or the folder .cairn.",
  ],
  slots: [oneOf("shell", "which shell", ["bash", "zsh"])],
  options: {},
  examples: ["source <(cairn completion bash)", "cairn completion zsh > ~/.zsh/_cairn"],
  load: async () => (await import("../completion.js")).scriptAction,
});

/** Completes all families, itself among them. */
export function shellFamily(all: () => readonly Family[]): Family {
  const words = verb({
    name: "completion words",
    summary: "Print what can follow on a command line; the scripts call this.",
    slots: [maybe(rest("word", "the words behind cairn; the last one is being written", asIs))],
    options: clusterRows,
    examples: ["cairn completion words -- info rbd/"],
    load: async () => {
      const action = (await import("../completion.js")).wordsAction(all());
      return (given, flags) => action(given ?? [""], flags);
    },
  });
  return { title: "Shell", verbs: [completion, words] };
}
