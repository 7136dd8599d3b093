// `cairn completion`: scripts that have bash and zsh complete, and the verb that they call.
import { setTimeout as sleep } from "node:timers/promises";
import { withMonitor } from "./connect.js";
import { withImages } from "./image-access.js";
import type { ClusterOptions } from "./options.js";
import { complete, type NameSource } from "./table/completion.js";
import type { Family } from "./table/verb.js";

/** Somebody waits for the Tab key: after this time there are no names. */
const answerWithinMs = 3000;

// bash takes "@", "=" and ":" for ends of words; what it replaces begins behind the last of them.
const bash = `# Completion of cairn for bash: source <(cairn completion bash)
_cairn() {
  local line=\${COMP_LINE:0:COMP_POINT} words current prefix kind
  read -ra words <<<"$line"
  [[ $line == *" " ]] && words+=("")
  current=\${words[-1]}
  prefix=\${current%"\${current##*[@=:]}"}
  COMPREPLY=()
  local reply
  while IFS= read -r reply; do
    case $reply in
      :file) compopt -o default; return ;;
      :folder) compopt -o dirnames; return ;;
      *) COMPREPLY+=("\${reply#"$prefix"}") ;;
    esac
  done < <("\${words[0]}" completion words -- "\${words[@]:1}" 2>/dev/null)
  [[ \${#COMPREPLY[@]} == 1 && \${COMPREPLY[0]} == *[/@=] ]] && compopt -o nospace
}
complete -F _cairn cairn
`;

const zsh = `#compdef cairn
# Completion of cairn for zsh: source <(cairn completion zsh), or a file _cairn in fpath
_cairn() {
  local reply
  local -a whole open
  while IFS= read -r reply; do
    case $reply in
      :file) _files; return ;;
      :folder) _files -/; return ;;
      *[/@=]) open+=("$reply") ;;
      *) whole+=("$reply") ;;
    esac
  done < <("\${words[1]}" completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#open} )) && compadd -S '' -- "\${open[@]}"
  (( \${#whole} )) && compadd -- "\${whole[@]}"
}
compdef _cairn cairn
`;

export async function scriptAction(shell: "bash" | "zsh"): Promise<void> {
  process.stdout.write(shell === "bash" ? bash : zsh);
}

/** What can follow on a command line: a line each; :file and :folder have the shell find paths. */
export const wordsAction =
  (families: readonly Family[]) =>
  async (words: string[], flags: ClusterOptions): Promise<void> => {
    const found = await Promise.race([
      complete(families, words, clusterNames(flags)).catch(() => undefined),
      sleep(answerWithinMs, undefined, { ref: false }),
    ]);
    const lines = [
      ...(found?.words ?? []),
      ...(found?.paths === undefined ? [] : [`:${found.paths}`]),
    ];
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
    // A cluster that does not answer must not keep the shell waiting.
    if (found === undefined) process.exit(0);
  };

function clusterNames(flags: ClusterOptions): NameSource {
  return {
    pools: () =>
      withMonitor(flags, async (monitor) => {
        const { pools } = await monitor.command("pool ls", {});
        return pools.map(({ name }) => name);
      }),
    images: (pool, namespace) =>
      withImages(flags, { pool, namespace }, async (images) =>
        (await images.scope.directory.names()).map(([name]) => name),
      ),
    osds: () =>
      withMonitor(flags, async (monitor) => {
        const { osds } = await monitor.command("osd ls", {});
        return osds.map(({ id }) => String(id));
      }),
    snapshots: (pool, namespace, image) =>
      withImages(flags, { pool, namespace }, async ({ snapshots }) =>
        (await snapshots.list(image)).map(({ name }) => name),
      ),
    snapshotIds: (pool, namespace, image) =>
      withImages(flags, { pool, namespace }, async ({ snapshots }) =>
        (await snapshots.list(image, { all: true })).map(({ id }) => String(id)),
      ),
    groups: (pool, namespace) =>
      withImages(flags, { pool, namespace }, async ({ groups }) =>
        (await groups.list()).map(([name]) => name),
      ),
    namespaces: async (pool) => {
      const { Namespaces } = await import("../client/index.js");
      return withImages(flags, { pool, namespace: "" }, async ({ scope }) =>
        (await new Namespaces(scope).list()).map(({ name }) => name),
      );
    },
    trash: (pool, namespace) =>
      withImages(flags, { pool, namespace }, async ({ trash }) =>
        (await trash.list()).map(({ id }) => id),
      ),
  };
}
