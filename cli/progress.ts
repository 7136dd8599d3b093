// Progress on stderr: a bar on a terminal, a line now and then elsewhere, or nothing at all.
import { type SingleBar as Bar, default as progressBars } from "cli-progress";
import { formatSize } from "../common/units.js";

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

/** @param doing "import rbd/disk1" */
export function startProgress(doing: string, wanted: boolean): ProgressReport {
  if (!wanted) return silent;
  return process.stderr.isTTY ? barReport(doing) : lineReport(doing);
}

function barReport(doing: string): ProgressReport {
  let bar: Bar | undefined;
  let lastBytes = 0;
  let lastMs = performance.now();
  let speed = "";
  const show = (doneBytes: number, totalBytes: number | undefined) => {
    const nowMs = performance.now();
    if (nowMs - lastMs >= 500) {
      speed = `${formatSize(((doneBytes - lastBytes) * 1000) / (nowMs - lastMs))}/s`;
      lastBytes = doneBytes;
      lastMs = nowMs;
    }
    const text = { done: formatSize(doneBytes), total: formatSize(totalBytes ?? 0), speed };
    if (bar === undefined) {
      const format =
        totalBytes === undefined
          ? `${doing} {done} {speed}`
          : `${doing} [{bar}] {percentage}% {done} of {total} {speed}`;
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

function lineReport(doing: string): ProgressReport {
  let nextMs = performance.now() + lineEveryMs;
  return {
    update(doneBytes, totalBytes) {
      if (performance.now() < nextMs) return;
      nextMs = performance.now() + lineEveryMs;
      const of = totalBytes === undefined ? "" : ` of ${formatSize(totalBytes)}`;
      process.stderr.write(`${doing}: ${formatSize(doneBytes)}${of}\n`);
    },
    say: (text) => process.stderr.write(`${text}\n`),
    end: () => undefined,
  };
}
