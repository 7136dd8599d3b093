// Progress on stderr: a bar on a terminal, a line now and then elsewhere, or nothing at all.
import { type SingleBar as Bar, default as progressBars } from "cli-progress";
import { formatSize } from "../common/units.js";

/** What is counted. */
export type Unit = "bytes" | "steps";

export interface ProgressReport {
  /** totalBytes undefined: not known */
  update(doneBytes: number, totalBytes: number | undefined): void;
  /** One line, kept. */
  say(text: string): void;
  end(): void;
}

/** Elsewhere than on a terminal a line is printed this often. */
const lineEveryMs = 5000;

const silent: ProgressReport = {
  update: () => undefined,
  say: () => undefined,
  end: () => undefined,
};

/** @param doing "importing rbd/disk1" */
export function startProgress(
  doing: string,
  wanted: boolean,
  unit: Unit = "bytes",
): ProgressReport {
  if (!wanted) return silent;
  return process.stderr.isTTY ? barReport(doing, unit) : lineReport(doing, unit);
}

const amount = (value: number, unit: Unit): string =>
  unit === "bytes" ? formatSize(value) : String(Math.round(value));

function barReport(doing: string, unit: Unit): ProgressReport {
  let bar: Bar | undefined;
  let lastBytes = 0;
  let lastMs = performance.now();
  let speed = "";
  const show = (doneBytes: number, totalBytes: number | undefined) => {
    const nowMs = performance.now();
    if (nowMs - lastMs >= 500) {
      speed = `${amount(((doneBytes - lastBytes) * 1000) / (nowMs - lastMs), unit)}/s`;
      lastBytes = doneBytes;
      lastMs = nowMs;
    }
    const text = { done: amount(doneBytes, unit), whole: amount(totalBytes ?? 0, unit), speed };
    if (bar === undefined) {
      const format =
        totalBytes === undefined
          ? `${doing} {done} {speed}`
          : `${doing} [{bar}] {percentage}% {done} of {whole} {speed}`;
      bar = new progressBars.SingleBar({
        format,
        stream: process.stderr,
        hideCursor: true,
        clearOnComplete: true,
        barsize: 30,
      });
      bar.start(totalBytes ?? 1, doneBytes, text);
    }
    bar.update(Math.min(doneBytes, totalBytes ?? 1), text);
  };
  return {
    update: show,
    say: (text) => process.stderr.write(`${text}\n`),
    end: () => bar?.stop(),
  };
}

function lineReport(doing: string, unit: Unit): ProgressReport {
  let nextMs = performance.now() + lineEveryMs;
  return {
    update(doneBytes, totalBytes) {
      if (performance.now() < nextMs) return;
      nextMs = performance.now() + lineEveryMs;
      const of = totalBytes === undefined ? "" : ` of ${amount(totalBytes, unit)}`;
      process.stderr.write(`${doing}: ${amount(doneBytes, unit)}${of}\n`);
    },
    say: (text) => process.stderr.write(`${text}\n`),
    end: () => undefined,
  };
}
