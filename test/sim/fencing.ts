// Does fencing hold? Of operations that were sent under an image's lock, each with the token that
// the lock had handed out, by objects. Once an operation under a token has been answered:
//  - no operation that begins later under a lower token is served, and
//  - no write under a lower token takes effect any more, whenever it began: a later read that
//    shows it, behind a later read that does not, proves that it did.
// Pure.
import type { BlockOperation } from "../checkers/linearizability.js";

export interface FencedOperation {
  operation: BlockOperation;
  object: string;
  token: number;
}

/** When each token was first answered for an object, in the order of time. */
type Answers = { endNs: number; token: number }[];

/** @param history of all clients: reads under no lock count for what they show */
export function findFencingViolations(
  fenced: readonly FencedOperation[],
  history: readonly BlockOperation[],
): string[] {
  const answers = answersOf(fenced);
  return [...servedStale(fenced, answers), ...tookEffectLate(fenced, history, answers)];
}

function answersOf(fenced: readonly FencedOperation[]): Map<string, Answers> {
  const byObject = new Map<string, Answers>();
  const answered = fenced.filter(({ operation }) => operation.endNs < Number.POSITIVE_INFINITY);
  for (const { object, token, operation } of answered) {
    const list = byObject.get(object) ?? [];
    list.push({ endNs: operation.endNs, token });
    byObject.set(object, list);
  }
  for (const list of byObject.values()) list.sort((a, b) => a.endNs - b.endNs);
  return byObject;
}

/** When a higher token than this was answered first; Infinity: never. */
function supersededNs(answers: Answers | undefined, token: number): number {
  return answers?.find((answer) => answer.token > token)?.endNs ?? Number.POSITIVE_INFINITY;
}

function servedStale(
  fenced: readonly FencedOperation[],
  answers: ReadonlyMap<string, Answers>,
): string[] {
  const byToken = new Map<string, number>();
  return fenced.flatMap(({ operation, object, token }) => {
    const key = `${object} ${token}`;
    const sinceNs = byToken.get(key) ?? supersededNs(answers.get(object), token);
    byToken.set(key, sinceNs);
    const isServed = operation.endNs < Number.POSITIVE_INFINITY;
    if (!isServed || operation.startNs <= sinceNs) return [];
    const { client, kind, block } = operation;
    return [
      `stale_token: client${client} ${kind} ${block} at ${operation.startNs} was served under ` +
        `token ${token}, superseded at ${sinceNs}`,
    ];
  });
}

function tookEffectLate(
  fenced: readonly FencedOperation[],
  history: readonly BlockOperation[],
  answers: ReadonlyMap<string, Answers>,
): string[] {
  const reads = readsByBlock(history);
  return fenced.flatMap(({ operation, object, token }) => {
    if (operation.kind !== "write") return [];
    const { block, value } = operation;
    const ofBlock = reads.get(block) ?? [];
    if (!ofBlock.some((read) => read.value === value)) return [];
    const sinceNs = supersededNs(answers.get(object), token);
    const later = ofBlock.filter(({ startNs }) => startNs > sinceNs);
    const absentNs = later
      .filter((read) => read.value !== value)
      .reduce((earliest, { endNs }) => Math.min(earliest, endNs), Number.POSITIVE_INFINITY);
    if (!later.some((read) => read.value === value && read.startNs > absentNs)) return [];
    return [
      `late_effect: write ${value} to ${block} under token ${token} took effect after ` +
        `${absentNs}, though superseded at ${sinceNs}`,
    ];
  });
}

function readsByBlock(history: readonly BlockOperation[]): Map<string, BlockOperation[]> {
  const byBlock = new Map<string, BlockOperation[]>();
  for (const operation of history) {
    if (operation.kind !== "read" || operation.endNs === Number.POSITIVE_INFINITY) continue;
    const list = byBlock.get(operation.block) ?? [];
    list.push(operation);
    byBlock.set(operation.block, list);
  }
  return byBlock;
}
