// 16.16 fixed-point weights from and to decimal text, with crushtool's rounding: it reads a 32-bit
// float and cuts, and it prints a 32-bit float with three digits.

/** The weight that crushtool compiles a number to: float(value) * 65536, cut towards zero. */
export function weightFromNumber(value: number): number {
  return Math.trunc(Math.fround(Math.fround(value) * 0x10000));
}

/** As printf("%.3f") of the weight as a float: halves go to the even digit. */
export function formatWeight(weight: number): string {
  // weight / 65536 in thousandths is weight * 1000 / 65536 = weight * 125 / 8192: exact below 2^53.
  const scaled = Math.fround(weight) * 125;
  const floor = Math.floor(scaled / 8192);
  const rest = scaled - floor * 8192;
  const up = rest > 4096 || (rest === 4096 && floor % 2 === 1);
  const thousandths = floor + (up ? 1 : 0);
  return `${Math.floor(thousandths / 1000)}.${String(thousandths % 1000).padStart(3, "0")}`;
}
