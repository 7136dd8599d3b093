// Ceph's rjenkins1 hash of two numbers, as CRUSH uses it to seed a PG's placement and to decide on
// an OSD's primary affinity. The same function as native/core/crush has. Pure.

const seedValue = 1315423911;

/** Robert Jenkins' 96-bit mix; the three words are changed in place. */
function mix(words: Uint32Array, a: number, b: number, c: number): void {
  const at = (index: number) => words[index] ?? 0;
  const round = (target: number, left: number, right: number, shift: number) => {
    const shifted = shift > 0 ? at(right) >>> shift : at(right) << -shift;
    words[target] = (at(target) - at(left) - at(right)) ^ shifted;
  };
  round(a, b, c, 13);
  round(b, c, a, -8);
  round(c, a, b, 13);
  round(a, b, c, 12);
  round(b, c, a, -16);
  round(c, a, b, 5);
  round(a, b, c, 3);
  round(b, c, a, -10);
  round(c, a, b, 15);
}

/** crush_hash32_2: 32 bits out of two 32-bit numbers. */
export function crushHash2(a: number, b: number): number {
  // 0: a, 1: b, 2: hash, 3 and 4: the constants x and y of the original
  const words = Uint32Array.of(a, b, seedValue ^ a ^ b, 231232, 1232);
  mix(words, 0, 1, 2);
  mix(words, 3, 0, 2);
  mix(words, 1, 4, 2);
  return words[2] ?? 0;
}
