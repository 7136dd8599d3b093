// Reads and writes cases.txt, and the digests in it. Used by tools/make-crush-golden.mjs and by the
// tests; the C++ test reads cases.txt by itself.

/**
 * @typedef {object} GoldenCase
 * @property {string} name the file NAME.lines
 * @property {string} map the files MAP.txt and MAP.cmap
 * @property {number} rule
 * @property {number} numRep
 * @property {number} minX
 * @property {number} maxX
 * @property {[osd: number, weight: string][]} weights as given to --weight
 * @property {string} crc32c of all lines, 8 hex digits
 * @property {string} fnv1a of all lines (32 bits), 8 hex digits
 * @property {string} sha256 of all lines, hex
 */

const fixedFieldCount = 9;

/** @returns {GoldenCase[]} */
export function parseCases(text) {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const fields = line.split(" ");
      const [name, map, rule, numRep, minX, maxX, crc32c, fnv1a, sha256] = fields;
      const weights = fields.slice(fixedFieldCount).map((pair) => {
        const [osd, weight] = pair.split("=");
        return [Number(osd), weight];
      });
      const numbers = { rule: Number(rule), numRep: Number(numRep), minX: Number(minX) };
      return { name, map, ...numbers, maxX: Number(maxX), weights, crc32c, fnv1a, sha256 };
    });
}

/** @param {GoldenCase[]} cases */
export function formatCases(cases) {
  const lines = cases.map((golden) => {
    const { name, map, rule, numRep, minX, maxX, crc32c, fnv1a, sha256 } = golden;
    const weights = golden.weights.map(([osd, weight]) => `${osd}=${weight}`);
    const numbers = [rule, numRep, minX, maxX];
    return [name, map, ...numbers, crc32c, fnv1a, sha256, ...weights].join(" ");
  });
  const head = "# name map rule num_rep min_x max_x crc32c fnv1a sha256 [osd=weight ...]";
  return `${[head, ...lines].join("\n")}\n`;
}

/**
 * crushtool's arguments for a case.
 * @param {GoldenCase} golden
 * @param {string} mapPath the map as crushtool compiled it
 */
export function crushtoolArguments(golden, mapPath) {
  return [
    ...["-i", mapPath, "--test", "--show-mappings"],
    ...["--rule", String(golden.rule), "--num-rep", String(golden.numRep)],
    ...["--min-x", String(golden.minX), "--max-x", String(golden.maxX)],
    ...golden.weights.flatMap(([osd, weight]) => ["--weight", String(osd), weight]),
  ];
}

const crcTable = Int32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ (value & 1 ? 0x82f63b78 : 0);
  return value;
});

/** CRC-32C and FNV-1a (32 bits) of bytes that come in pieces. */
export class LineDigest {
  #crc = -1;
  #fnv = 0x811c9dc5;

  /** @param {Uint8Array} bytes */
  update(bytes) {
    let crc = this.#crc;
    let fnv = this.#fnv;
    for (const byte of bytes) {
      crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 0xff];
      fnv = Math.imul(fnv ^ byte, 0x01000193);
    }
    this.#crc = crc;
    this.#fnv = fnv;
  }

  result() {
    const hex = (value) => (value >>> 0).toString(16).padStart(8, "0");
    return { crc32c: hex(~this.#crc), fnv1a: hex(this.#fnv) };
  }
}
