// Tests of common/: error codes against the native table, units, configuration, logs.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { loadConfig, MonitorConfigSchema, parseConfig } from "./config.js";
import {
  errorCodeOfNumber,
  errorNumbers,
  exitCodeOf,
  isErrorCode,
  StorageError,
  toStorageError,
} from "./errors.js";
import { openLog } from "./log.js";
import {
  epoch,
  formatDurationMs,
  formatSize,
  parseDurationMs,
  parsePgId,
  parseSize,
  pgId,
} from "./units.js";

const folders: string[] = [];
function folder(): string {
  const made = mkdtempSync(path.join(tmpdir(), "cairn-common-"));
  folders.push(made);
  return made;
}
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true });
});

describe("errors", () => {
  it("has the codes and numbers of the native table", () => {
    const table = readFileSync("native/core/base/error_codes.def", "utf8");
    const native = [...table.matchAll(/^CAIRN_ERROR\((\w+), (\d+)\)$/gm)]
      .map((match) => [match[1], Number(match[2])] as const)
      .filter(([name]) => name !== "ok");
    expect(Object.entries(errorNumbers)).toEqual(native);
  });

  it("crosses the wire as data", () => {
    const error = new StorageError("busy", "taken", { remedy: "Stop the other one." });
    const back = StorageError.fromBody(JSON.parse(JSON.stringify(error)));
    expect(back).toMatchObject({ code: "busy", message: "taken", remedy: "Stop the other one." });
  });

  it("maps system errors by errno and tells what was tried", () => {
    const system = Object.assign(new Error("listen EADDRINUSE"), { code: "EADDRINUSE" });
    expect(toStorageError(system, "listen").code).toBe("address_in_use");
    expect(toStorageError(system, "listen").message).toBe("cannot listen: listen EADDRINUSE");
    const missing = Object.assign(new Error("ENOENT: no such file or directory, open '/x, y'"), {
      code: "ENOENT",
    });
    expect(toStorageError(missing, "read /x, y").message).toBe(
      "cannot read /x, y: no such file or directory",
    );
    expect(toStorageError(new Error("odd")).code).toBe("io_error");
  });

  it("knows codes and exit codes", () => {
    expect(isErrorCode("busy")).toBe(true);
    expect(isErrorCode("toString")).toBe(false);
    expect(errorCodeOfNumber(12)).toBe("busy");
    expect(errorCodeOfNumber(0)).toBeUndefined();
    expect(exitCodeOf(new StorageError("invalid_argument", ""))).toBe(2);
    expect(exitCodeOf(new StorageError("busy", ""))).toBe(1);
    expect(exitCodeOf(new Error("x"))).toBe(1);
  });
});

describe("units", () => {
  it.each([
    ["4096", 4096],
    ["20G", 20 * 2 ** 30],
    ["1.5T", 1.5 * 2 ** 40],
    ["64KiB", 65536],
    ["4 mb", 4 * 2 ** 20],
    ["0", 0],
  ])("parses the size %s", (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(["", "G", "-1", "1.0001K", "5X", "1e9"])("refuses the size %j", (text) =>
    expect(() => parseSize(text)).toThrow(/is not a size/),
  );

  it.each(["9007199254740992", "8192P"])("refuses the size %j as too large", (text) =>
    expect(() => parseSize(text)).toThrow(/is too large: sizes are below 8 PiB/),
  );

  it("formats sizes and durations", () => {
    expect([512, 20 * 2 ** 30, 1536].map(formatSize)).toEqual(["512 B", "20 GiB", "1.5 KiB"]);
    expect([250, 1500, 180_000].map(formatDurationMs)).toEqual(["250 ms", "1.5 s", "3 min"]);
  });

  it("parses durations", () => {
    expect(["250ms", "30s", "10m", "1.5h", "7"].map(parseDurationMs)).toEqual([
      250, 30_000, 600_000, 5_400_000, 7000,
    ]);
    expect(() => parseDurationMs("soon")).toThrow(StorageError);
  });

  it("writes and reads PG ids", () => {
    expect(pgId(1, 63)).toBe("1.3f");
    expect(parsePgId("1.3f")).toEqual({ pool: 1, seed: 63 });
    for (const bad of ["1", "1.", "1.3F", "01.3", "1.03", "4294967296.0", "1.123456789"]) {
      expect(() => parsePgId(bad), bad).toThrow(/is not a PG id/);
    }
  });

  it("refuses epochs that do not fit 32 bits", () => {
    expect(epoch(7)).toBe(7);
    for (const bad of [-1, 1.5, 2 ** 32, Number.NaN]) expect(() => epoch(bad)).toThrow();
  });
});

describe("config", () => {
  it("fills in defaults: loopback, level info", () => {
    const config = parseConfig(MonitorConfigSchema, { dataDir: "/x" }, "test");
    expect(config.listen).toEqual({ host: "127.0.0.1", port: 0 });
    expect(config.log).toEqual({ file: "-", level: "info" });
    expect(config.statsStaleMs).toBe(30_000);
  });

  it("names the key that is wrong, also an unknown one", () => {
    const wrong = { dataDir: "/x", listen: { host: "a", port: 70000 } };
    expect(() => parseConfig(MonitorConfigSchema, wrong, "test")).toThrow(/\/listen\/port/);
    expect(() => parseConfig(MonitorConfigSchema, { dataDir: "/x", prot: 1 }, "t")).toThrow(
      /\/prot/,
    );
  });

  it("reads files, and says which file is missing or not JSON", async () => {
    const file = path.join(folder(), "mon.json");
    await expect(loadConfig(MonitorConfigSchema, file)).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining(file),
    });
    writeFileSync(file, "{");
    await expect(loadConfig(MonitorConfigSchema, file)).rejects.toThrow(`${file} is not JSON`);
    writeFileSync(file, '{"dataDir":"/x"}');
    await expect(loadConfig(MonitorConfigSchema, file)).resolves.toMatchObject({ dataDir: "/x" });
  });
});

describe("log", () => {
  it("appends JSON lines to a private file; its level changes at run time, children too", () => {
    const file = path.join(folder(), "logs", "mon.log");
    const daemonLog = openLog({ file, level: "info" }, "mon");
    const child = daemonLog.log.child({ part: "server" });
    child.debug("not yet");
    daemonLog.setLevel("debug");
    child.debug({ epoch: 3 }, "now");
    daemonLog.setLevel("error");
    daemonLog.log.warn("no more");
    daemonLog.close();
    // Of a daemon that has ended: nowhere to go, and no failure.
    expect(() => child.error("too late")).not.toThrow();
    const lines = readFileSync(file, "utf8").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { daemon: "mon", part: "server", level: "debug", epoch: 3, msg: "now" },
    ]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});
