// crushtool's text map -> CrushMap. The grammar is that of `crushtool --compile` (Ceph 16), with
// these refusals, each by name and line: bucket algorithms other than straw2, hashes other than
// rjenkins1, the legacy local tries, choose_args, MSR rules, and a bucket that stands before one
// that it holds.
import { StorageError } from "../common/errors.js";
import { failAt, type Word, Words } from "./lexer.js";
import {
  bucketWeight,
  type CrushBucket,
  type CrushDevice,
  type CrushItem,
  type CrushMap,
  type CrushRule,
  type CrushTunables,
  type CrushType,
  limits,
  type RuleStep,
  type SetStepOp,
  weightOne,
} from "./map.js";
import { assignShadowIds } from "./shadow.js";
import { checkWeight, validateMap } from "./validate.js";
import { weightFromNumber } from "./weight.js";

/** What crushtool assumes for a tunable that the text doesn't set: Ceph's first profile. */
const legacyTunables = {
  choose_local_tries: 2,
  choose_local_fallback_tries: 5,
  choose_total_tries: 19,
  chooseleaf_descend_once: 0,
  chooseleaf_vary_r: 0,
  chooseleaf_stable: 0,
  straw_calc_version: 0,
  allowed_bucket_algs: 22,
};
type TunableName = keyof typeof legacyTunables;

const setStepOps: ReadonlySet<string> = new Set<SetStepOp>([
  "set_choose_tries",
  "set_chooseleaf_tries",
  "set_chooseleaf_vary_r",
  "set_chooseleaf_stable",
]);

function isTunable(name: string): name is TunableName {
  return Object.hasOwn(legacyTunables, name);
}

function isSetStepOp(op: string): op is SetStepOp {
  return setStepOps.has(op);
}

/** What has been read so far. */
class Draft {
  readonly tunables = { ...legacyTunables };
  readonly tunableLines = new Map<TunableName, number>();
  readonly devices: CrushDevice[] = [];
  readonly types: CrushType[] = [];
  readonly buckets: CrushBucket[] = [];
  readonly rules: CrushRule[] = [];
  readonly classes: string[] = [];
  readonly itemIds = new Map<string, number>();
  readonly typeIds = new Map<string, number>();
  readonly deviceIds = new Set<number>();
  readonly typeNumbers = new Set<number>();
  readonly weights = new Map<number, number>();

  /** @param usedIds bucket ids that aren't free for a bucket without an id */
  constructor(readonly usedIds: Set<number>) {}

  addClass(name: Word): void {
    if (this.classes.includes(name.text)) return;
    if (this.classes.length === limits.classCount)
      failAt(name.line, `more than ${limits.classCount} device classes`, "too_large");
    this.classes.push(name.text);
  }

  addItem(name: Word, id: number): void {
    if (this.itemIds.has(name.text)) failAt(name.line, `${name.text} is defined twice`);
    this.itemIds.set(name.text, id);
  }

  typeId(name: Word): number {
    const id = this.typeIds.get(name.text);
    if (id === undefined) failAt(name.line, `type ${name.text} isn't defined`);
    return id;
  }
}

/** Runs a check of validate.ts and puts the line in front of its message. */
function atLine(line: number, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (error instanceof StorageError)
      throw new StorageError(error.code, `line ${line}: ${error.message}`);
    throw error;
  }
}

function parseTunable(words: Words, draft: Draft): void {
  const name = words.name("a tunable's name");
  const value = words.integer(`tunable ${name.text}`, 0, 0x7fffffff);
  if (!isTunable(name.text)) {
    failAt(name.line, `tunable ${name.text} is unknown to Cairn`, "unsupported_feature");
  }
  draft.tunables[name.text] = value;
  draft.tunableLines.set(name.text, name.line);
}

/** @throws StorageError unsupported_feature, naming the tunable and its line */
function finishTunables(draft: Draft): CrushTunables {
  for (const name of ["choose_local_tries", "choose_local_fallback_tries"] as const) {
    if (draft.tunables[name] === 0) continue;
    const line = draft.tunableLines.get(name);
    const value = draft.tunables[name];
    if (line === undefined)
      throw new StorageError(
        "unsupported_feature",
        `the map doesn't set tunable ${name}, so it has its legacy value ${value}; ` +
          "Cairn places with 0 only",
        { remedy: `Add "tunable ${name} 0" (this moves data when the map is in use).` },
      );
    failAt(line, `tunable ${name} is ${value}; Cairn places with 0 only`, "unsupported_feature");
  }
  const { tunables, tunableLines } = draft;
  const within = (name: TunableName, high: number): number => {
    if (tunables[name] > high)
      failAt(
        tunableLines.get(name) ?? 1,
        `tunable ${name} is ${tunables[name]}; Cairn supports 0 to ${high}`,
        "unsupported_feature",
      );
    return tunables[name];
  };
  return {
    chooseTotalTries: within("choose_total_tries", limits.tries - 1),
    chooseleafDescendOnce: tunables.chooseleaf_descend_once === 0 ? 0 : 1,
    chooseleafVaryR: within("chooseleaf_vary_r", limits.varyR),
    chooseleafStable: within("chooseleaf_stable", 1) === 0 ? 0 : 1,
    strawCalcVersion: tunables.straw_calc_version,
    allowedBucketAlgs: tunables.allowed_bucket_algs,
  };
}

function parseDevice(words: Words, draft: Draft): void {
  const id = words.integer("a device's id", 0, limits.deviceCount - 1);
  const name = words.name("a device's name");
  if (draft.deviceIds.has(id)) failAt(name.line, `device ${id} is defined twice`);
  draft.deviceIds.add(id);
  draft.addItem(name, id);
  if (!words.accept("class")) {
    draft.devices.push({ id, name: name.text });
    return;
  }
  const deviceClass = words.name("a device class");
  draft.addClass(deviceClass);
  draft.devices.push({ id, name: name.text, deviceClass: deviceClass.text });
}

function parseType(words: Words, draft: Draft): void {
  const id = words.integer("a type's id", 0, limits.typeId);
  const name = words.name("a type's name");
  if (draft.typeIds.has(name.text)) failAt(name.line, `type ${name.text} is defined twice`);
  if (draft.typeNumbers.has(id)) failAt(name.line, `type ${id} is defined twice`);
  draft.typeNumbers.add(id);
  draft.typeIds.set(name.text, id);
  draft.types.push({ id, name: name.text });
}

function parseItem(words: Words, draft: Draft, bucketName: string): CrushItem {
  const name = words.name("an item's name");
  const id = draft.itemIds.get(name.text);
  if (id === undefined)
    failAt(
      name.line,
      `item ${name.text} in bucket ${bucketName} isn't defined; ` +
        "a bucket stands before the bucket that holds it",
    );
  // Without a weight: what a bucket holds, 1.0 for a device.
  let weight = draft.weights.get(id) ?? weightOne;
  if (words.accept("weight")) weight = weightFromNumber(words.real("a weight"));
  if (words.peek()?.text === "pos")
    failAt(name.line, "pos is for uniform and tree buckets", "unsupported_feature");
  atLine(name.line, () => checkWeight(`item ${name.text} in bucket ${bucketName}`, id, weight));
  return { id, weight };
}

interface BucketDraft {
  id: number | undefined;
  alg: string | undefined;
  shadowIds: Record<string, number>;
  items: CrushItem[];
}

function parseBucketLine(words: Words, draft: Draft, name: string, bucket: BucketDraft): void {
  const key = words.next("a line of the bucket or }");
  switch (key.text) {
    case "id": {
      const id = words.integer("a bucket's id", -limits.bucketCount, -1);
      if (words.accept("class")) {
        const deviceClass = words.name("a device class");
        if (Object.hasOwn(bucket.shadowIds, deviceClass.text))
          failAt(key.line, `bucket ${name} has two ids for class ${deviceClass.text}`);
        draft.addClass(deviceClass);
        bucket.shadowIds[deviceClass.text] = id;
      } else {
        if (bucket.id !== undefined) failAt(key.line, `bucket ${name} has two ids`);
        bucket.id = id;
      }
      return;
    }
    case "alg": {
      const alg = words.name("a bucket algorithm");
      if (alg.text !== "straw2")
        failAt(
          alg.line,
          `bucket ${name} uses alg ${alg.text}; Cairn places with straw2 only`,
          "unsupported_feature",
        );
      bucket.alg = alg.text;
      return;
    }
    case "hash": {
      const hash = words.next("a hash");
      if (hash.text !== "0" && hash.text !== "rjenkins1")
        failAt(
          hash.line,
          `bucket ${name} uses hash ${hash.text}; Cairn places with rjenkins1 (0) only`,
          "unsupported_feature",
        );
      return;
    }
    case "item":
      bucket.items.push(parseItem(words, draft, name));
      if (bucket.items.length > limits.itemsInBucket)
        failAt(key.line, `bucket ${name} holds more than 65536 items`, "too_large");
      return;
    default:
      failAt(key.line, `"${key.text}" in bucket ${name}`);
  }
}

function parseBucket(words: Words, draft: Draft, type: Word): void {
  if (draft.rules.length > 0) failAt(type.line, "buckets must be defined before rules");
  const typeId = draft.typeIds.get(type.text);
  if (typeId === undefined)
    failAt(type.line, `"${type.text}" is neither a keyword nor a bucket type defined above`);
  if (typeId === 0) failAt(type.line, `type ${type.text} is for devices, not for buckets`);
  const name = words.name("a bucket's name");
  words.expect("{");
  const bucket: BucketDraft = { id: undefined, alg: undefined, shadowIds: {}, items: [] };
  while (!words.accept("}")) parseBucketLine(words, draft, name.text, bucket);
  if (bucket.alg === undefined) failAt(name.line, `bucket ${name.text} has no alg`);
  let id = bucket.id ?? -1;
  if (bucket.id === undefined) while (draft.usedIds.has(id)) id -= 1;
  draft.usedIds.add(id);
  draft.addItem(name, id);
  draft.weights.set(id, bucketWeight(bucket));
  draft.buckets.push({
    id,
    name: name.text,
    typeId,
    items: bucket.items,
    shadowIds: bucket.shadowIds,
  });
}

function parseTake(words: Words, draft: Draft, rule: string): RuleStep {
  const name = words.name("an item's name");
  const itemId = draft.itemIds.get(name.text);
  if (itemId === undefined) failAt(name.line, `item ${name.text} in rule ${rule} isn't defined`);
  if (!words.accept("class")) return { op: "take", itemId };
  const deviceClass = words.name("a device class");
  if (itemId >= 0) failAt(name.line, `rule ${rule} takes a class of ${name.text}, a device`);
  if (!draft.classes.includes(deviceClass.text))
    failAt(deviceClass.line, `no device has class ${deviceClass.text}`);
  return { op: "take", itemId, deviceClass: deviceClass.text };
}

function parseStep(words: Words, draft: Draft, rule: string): RuleStep {
  const op = words.name("a step");
  switch (op.text) {
    case "take":
      return parseTake(words, draft, rule);
    case "emit":
      return { op: "emit" };
    case "choose":
    case "chooseleaf": {
      const mode = words.name("firstn or indep");
      if (mode.text !== "firstn" && mode.text !== "indep")
        failAt(mode.line, `"${mode.text}" where firstn or indep should stand`);
      const count = words.integer("a count", -limits.resultSize, limits.resultSize);
      words.expect("type");
      const typeId = draft.typeId(words.name("a type"));
      return { op: op.text, mode: mode.text, count, typeId };
    }
  }
  if (!isSetStepOp(op.text))
    failAt(op.line, `step ${op.text} isn't supported by Cairn`, "unsupported_feature");
  const high = { set_chooseleaf_vary_r: limits.varyR, set_chooseleaf_stable: 1 };
  const limit = op.text in high ? high[op.text as keyof typeof high] : limits.tries;
  return { op: op.text, value: words.integer(`step ${op.text}`, 0, limit) };
}

function parseRuleKind(words: Words): CrushRule["kind"] {
  words.expect("type");
  const kind = words.name("replicated or erasure");
  if (kind.text === "replicated" || kind.text === "erasure") return kind.text;
  return failAt(
    kind.line,
    `rule type ${kind.text}; Cairn knows replicated and erasure`,
    "unsupported_feature",
  );
}

function parseRule(words: Words, draft: Draft): void {
  const name = words.peek()?.text === "{" ? undefined : words.name("a rule's name");
  const brace = words.expect("{");
  const shown = name?.text ?? "without a name";
  if (name !== undefined && draft.rules.some((rule) => rule.name === name.text))
    failAt(name.line, `rule ${name.text} is defined twice`);
  if (!words.accept("id")) words.expect("ruleset");
  const id = words.integer("a rule's id", 0, limits.ruleCount - 1);
  if (draft.rules.some((rule) => rule.id === id)) failAt(brace.line, `rule ${id} is defined twice`);
  const kind = parseRuleKind(words);
  const sizeOf = (key: string): number | undefined =>
    words.accept(key) ? words.integer(key, 0, 255) : undefined;
  const minSize = sizeOf("min_size");
  const maxSize = sizeOf("max_size");
  const steps: RuleStep[] = [];
  while (!words.accept("}")) {
    const line = words.expect("step").line;
    if (steps.length === limits.stepsInRule)
      failAt(line, `rule ${shown} has more than ${limits.stepsInRule} steps`, "too_large");
    steps.push(parseStep(words, draft, shown));
  }
  if (steps.length === 0) failAt(brace.line, `rule ${shown} has no steps`);
  draft.rules.push({ id, name: name?.text, kind, minSize, maxSize, steps });
}

/**
 * Parses a text map; shadow ids that the text doesn't give are assigned as crushtool does.
 * @param text what `crushtool --decompile` prints or a person wrote
 * @throws StorageError corrupt, unsupported_feature or too_large; it starts with "line N: "
 *   where one line is to blame
 */
export function parseCrushMap(text: string): CrushMap {
  const words = new Words(text);
  const draft = new Draft(words.bucketIds());
  for (let word = words.peek(); word !== undefined; word = words.peek()) {
    words.next("a statement");
    switch (word.text) {
      case "tunable":
        parseTunable(words, draft);
        break;
      case "device":
        parseDevice(words, draft);
        break;
      case "type":
        parseType(words, draft);
        break;
      case "rule":
        parseRule(words, draft);
        break;
      case "choose_args":
        failAt(word.line, "choose_args (weight sets) aren't supported", "unsupported_feature");
        break;
      default:
        parseBucket(words, draft, word);
    }
  }
  const byId = <T extends { id: number }>(list: T[]): T[] => list.sort((a, b) => a.id - b.id);
  const map: CrushMap = {
    tunables: finishTunables(draft),
    devices: byId(draft.devices),
    classes: draft.classes,
    types: byId(draft.types),
    buckets: draft.buckets,
    rules: byId(draft.rules),
  };
  // crushtool builds the shadow trees when it meets the first rule.
  const complete = map.rules.length === 0 ? map : assignShadowIds(map);
  validateMap(complete);
  return complete;
}
