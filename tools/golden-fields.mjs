// The fields of golden messages, as trees of [name, bytes, value as text].

export function integer(size) {
  return (name, value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return [name, bytes.subarray(0, size), String(value)];
  };
}
export const u8 = integer(1);
export const u16 = integer(2);
export const u32 = integer(4);
export const u64 = integer(8);
export const raw = (name, text) => [name, Buffer.from(text), JSON.stringify(text)];
export const text16 = (name, text) => [
  u16(`${name}Length`, Buffer.byteLength(text)),
  raw(name, text),
];
export const blob32 = (name, text) => [
  u32(`${name}Length`, Buffer.byteLength(text)),
  raw(name, text),
];

export const pg = (pool, seed) => [u32("pool", pool), u32("seed", seed)];
export const version = (epoch, number) => [
  u32("version.epoch", epoch),
  u64("version.number", number),
];
export const request = (client, sequence) => [u64("client", client), u64("sequence", sequence)];
export const step = (code, offset, length, pair) => [
  u8("step.code", code),
  u64("step.offset", offset),
  u64("step.length", length),
  pair ? [text16("step.key", pair[0]), blob32("step.value", pair[1])] : [],
];
export const layersStep = (code, offset, length, layers) => [
  u8("step.code", code),
  u64("step.offset", offset),
  u64("step.length", length),
  text16("step.key", ""),
  u32("step.valueLength", 8 * layers.length),
  layers.map((layer) => u64("step.layer", layer)),
];
export const steps = (...list) => [u8("stepCount", list.length), list];
export const entrySteps = (...list) => [u16("stepCount", list.length), list];
export const pairs = (...list) => [
  u32("pairCount", list.length),
  list.map(([key, value]) => [text16("key", key), blob32("value", value)]),
];
export const logEntry = (epoch, number, client, sequence, removes, object) => [
  version(epoch, number),
  request(client, sequence),
  u8("removes", removes),
  text16("object", object),
];
export const leased = (...pgs) => [
  u64("sentNs", 123456789),
  u32("pgCount", pgs.length),
  pgs.map(([pool, seed, interval]) => [pg(pool, seed), u32("interval", interval)]),
];
export const fence = (token, key) => [
  u64("fence.token", token),
  token === 0 ? [] : text16("fence.key", key),
];
export const notification = (body) => [
  pg(3, 17),
  u64("notifyId", 9),
  text16("object", "o"),
  text16("cookie", "lock"),
  blob32("body", body),
];
export const heartbeat = [
  u64("sentNs", 123456789),
  u32("epoch", 9),
  u32("loopAgeMs", 20),
  u32("diskAgeMs", 30),
];

export const scrubHead = (id) => [pg(3, 17), u32("interval", 7), u64("id", id)];
export const scrubObject = (name, code, exists, newest, [dataBlocks, blocks, omap], bad) => [
  text16("name", name),
  u16("code", code),
  u8("exists", exists),
  newest,
  u32("dataBlocks", dataBlocks),
  u32("blocksDigest", blocks),
  u32("omapDigest", omap),
  u32("badCount", bad.length),
  bad.map((index) => u32("badBlock", index)),
];
