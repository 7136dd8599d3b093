// The built CLI with wrong arguments and without a cluster: exit codes, what stderr says, and that
// every verb has its help. Needs `npm run build`.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { maxOsds } from "../proto/osd-map.js";

const program = fileURLToPath(new URL("../bin/cairn", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "cairn-cli-"));

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

function cairn(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, CAIRN_DIR: path.join(folder, "none") };
    execFile(
      process.execPath,
      [program, ...args],
      { cwd: folder, env },
      (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
      },
    );
  });
}

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const usageErrors: [args: string, says: RegExp][] = [
  ["frobnicate", /unknown command 'frobnicate'/],
  ["creat rbd/a", /Did you mean create/],
  ["create rbd/a", /required option '-s, --size <size>'/],
  ["create --size 1G", /missing required argument 'pool\/image'/],
  ["create rbd/ --size 1G", /"rbd\/" is not of the form POOL\/IMAGE/],
  ["create rbd/a/b/c --size 1G", /not of the form POOL\/IMAGE/],
  ["create rbd/a --pool fast --size 1G", /the pool is given twice: "rbd" and --pool fast/],
  ["create rbd/a --image b --size 1G", /too many arguments/],
  ["create --image a/b --size 1G", /no image name/],
  ["create rbd/a@b --size 1G", /no image name/],
  ["create rbd/a --size big", /"big" is not a size/],
  ["create rbd/a --size -1", /is not a size/],
  ["create rbd/a --size 1G extra", /too many arguments/],
  ["create rbd/a --size 1G --format yaml", /Allowed choices are plain, json, table/],
  ["create rbd/a --size 1G --monitor nowhere", /HOST:PORT/],
  ["create rbd/a --size 1G --monitor h:99999", /HOST:PORT/],
  ["create rbd/a --size 1G --frob", /unknown option '--frob'/],
  ["create rbd/a --size 1G --thick-provision --thin-overcommit", /cannot be used with/],
  ["clone rbd/a@s rbd/b --journal-pool=fast", /cairn clone has no --journal-pool: images have/],
  ["deep copy rbd/a rbd/b --mirror-image-mode snapshot", /deep copy has no .*\n.*import-diff/],
  ["migration prepare rbd/a rbd/b --snap s", /moves with all its snapshots\n.*--import-only/],
  ["migration prepare rbd/a@s rbd/b", /moves with all its snapshots/],
  ["migration prepare --import-only --image a --dest b", /which snapshot of rbd\/a/],
  ["migration prepare --import-only --dest b", /takes one source/],
  ["snap rm rbd/a --image-id 00ff --snap s", /too many arguments/],
  ["snap rm rbd/a@s --snap-id 4", /the snapshot is named twice/],
  ["snap rm rbd/a --snap-id x", /It should be a whole number/],
  ["resize rbd/a", /required option '-s, --size <size>'/],
  ["import", /missing required argument/],
  ["import -", /what comes from standard input has no name/],
  ["import --path a b c", /too many arguments/],
  ["import a@b", /"a@b" (is no|is not|cannot)/],
  ["export", /missing required argument/],
  ["lock add rbd/a", /missing required argument/],
  ["info", /`cairn info --help` shows the usage/],
  ["create rbd/a --size 1G --image-feature layering,bogus", /"bogus" is no feature/],
  ["feature enable rbd/a object-map,bogus", /"bogus" is no feature/],
  ["config global set osd.1 rbd_qos_iops_limit 5", /global, client, or client.HOST/],
  ["config global set global rbd_cache 5", /there is no option "rbd_cache"/],
  ["trash purge schedule add 1s", /no interval/],
  ["trash purge schedule add 1h --namespace a", /in which pool is the namespace a/],
  ["bench rbd/a --rw-mix-read 101", /from 0 to 100/],
  ["attach", /give one of --vhost-user SOCKET and --nbd WHERE/],
  ["attach --vhost-user s", /give an image as POOL\/IMAGE, or --null SIZE/],
  ["attach rbd/a", /give one of --vhost-user SOCKET and --nbd WHERE/],
  ["attach rbd/a --vhost-user s --nbd unix:n", /give one of --vhost-user SOCKET and --nbd WHERE/],
  ["attach rbd/a --nbd 10809", /unix:PATH or tcp:HOST:PORT/],
  ["attach rbd/a --nbd unix:n --queues 2", /--queues goes with --vhost-user/],
  ["attach rbd/a --vhost-user s --queues 0", /from 1 to 64/],
  ["attach rbd/a --vhost-user s --lock-timeout 0", /--lock-timeout.* from 1ms to 5m/],
  ["attach rbd/a --vhost-user s --lock-timeout 99d", /--lock-timeout.* from 1ms to 5m/],
  ["attach rbd/a --vhost-user s --read-only --exclusive", /--exclusive is about the lock/],
  ["attach rbd/a@s --vhost-user s --exclusive", /--exclusive is about the lock/],
  ["attach --null 1G --nbd tcp:127.0.0.1:0", /from 1 to 65535/],
  ["attach rbd/a --null 1G --vhost-user s", /an image or --null SIZE, not both/],
  ["attach --null 0 --vhost-user s", /size 0/],
  [`attach --null 1G --vhost-user ${"s".repeat(120)}`, /more than 107 bytes/],
  ["bench rbd/a --io-type trim", /Allowed choices are read, write, rw, readwrite/],
  ["bench rbd/a --io-threads 0", /from 1 to 1024/],
  ["bench rbd/a --io-size 0", /--io-size.* from 1 to 32M/],
  ["bench rbd/a --io-size 33M", /--io-size.* from 1 to 32M/],
  ["bench rbd/a --time soon", /"soon" is not a duration/],
  ["help frobnicate", /unknown command 'frobnicate'/],
  ["help trash purge rbd", /unknown command 'rbd'/],
  ["ls --pool", /argument missing/],
  ["snap create rbd/a", /which snapshot of rbd\/a\?\n {2}Write POOL\/IMAGE@SNAP, or give --snap/],
  ["snap rename rbd/a@s rbd/b@t", /a snapshot stays with its image/],
  ["mv rbd/a fast/a", /Copy it: cairn deep cp rbd\/a fast\/a/],
  ["deep cp rbd/a@s rbd/b", /Of one snapshot alone: cairn cp rbd\/a@s rbd\/b/],
  ["feature enable rbd/a journaling", /journaling is not there yet/],
  ["trash mv rbd/a --expires-at soon", /a duration such as 7d/],
  ["namespace create rbd", /"rbd" is not of the form POOL\/NAMESPACE/],
  ["group image add rbd/g", /missing required argument 'pool\/image'/],
  ["mirror pool enable rbd image", /Cairn does not have mirroring/],
  ["device map rbd/a --cookie x", /Cairn does not have block devices of this host/],
  ["pool", /a command is missing/],
  ["pool frob", /unknown command 'frob'/],
  ["pool rm rbd", /give its name twice: cairn pool rm rbd rbd/],
  ["pool rm rbd other", /give its name twice/],
  ["osd", /--id N is missing/],
  ["osd out", /missing required argument 'id'/],
  ["osd out minus", /whole number/],
  [`osd out ${maxOsds}`, /from 0 to 9999/],
  [`osd out`, /`cairn osd out --help` shows the usage/],
  ["create rbd/a --size 99P", /"99P" is too large: sizes are below 8 PiB/],
  ["crush test --rule 0 --num-rep 3 --min-x 0 --max-x 3", /`cairn crush test --help` shows/],
  ["osd mkfs --id 1 --data o", /for a cluster: which one/],
  ["osd --id 1 --data o", /--monitor is missing/],
  ["osd --id 1 --metadata-cache 1K", /from 1M to 1T; the default is 32M/],
  ["osd --id 1 --metadata-cache 2T", /from 1M to 1T/],
  ["config set osd.log_level", /missing required argument 'value'/],
  ["up --osds 0", /from 1 to 64/],
];

describe("wrong arguments", () => {
  it.concurrent.each(usageErrors)("cairn %s: exit code 2", async (args, says) => {
    const { code, stdout, stderr } = await cairn(...args.split(" "));
    expect(stderr).toMatch(says);
    expect(stderr).toMatch(/^cairn: /);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("come as JSON on stderr with --format json", async () => {
    const { code, stderr } = await cairn("create", "rbd/a", "--format", "json");
    expect(code).toBe(2);
    expect(JSON.parse(stderr)).toMatchObject({
      error: { code: "invalid_argument", remedy: "`cairn create --help` shows the usage." },
    });
  });
});

const failures: [args: string, says: RegExp][] = [
  ["status", /there is no cluster in .*none\n {2}Start one with `cairn up`/],
  ["down", /there is no cluster in/],
  ["osd tree", /there is no cluster in/],
  ["create rbd/a --size 1G", /there is no cluster in/],
  ["attach rbd/a --vhost-user s", /there is no cluster in/],
  ["import no-such-file rbd/a", /there is no cluster in/],
  ["status --monitor 127.0.0.1:1", /no monitor answers at 127.0.0.1:1\n {2}Start the cluster/],
  ["monitor", /there is no cluster in/],
  ["osd --id 0", /there is no cluster in/],
  ["osd --id 0 --data o --monitor 127.0.0.1:1", /o holds no OSD/],
  ["monitor --data m", /m holds no/],
  ["attach --null 1G --vhost-user no/such/folder/s", /no\/such\/folder\/s/],
];

describe("failures", () => {
  it.concurrent.each(failures)("cairn %s: exit code 1", async (args, says) => {
    const { code, stdout, stderr } = await cairn(...args.split(" "));
    expect(stderr).toMatch(says);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  it("cairn up leaves a folder of somebody else alone", async () => {
    const foreign = path.join(folder, "foreign");
    mkdirSync(foreign);
    writeFileSync(path.join(foreign, "letter.txt"), "dear");
    const { code, stderr } = await cairn("up", "--dir", foreign);
    expect(stderr).toMatch(/is not empty and holds no cluster/);
    expect(code).toBe(1);
    expect(readdirSync(foreign)).toEqual(["letter.txt"]);
  });

  it("cairn up leaves nothing behind when it fails", async () => {
    const dir = path.join(folder, "too-small");
    const { code, stderr } = await cairn("up", "--dir", dir, "--osd-size", "1M");
    expect(stderr).toMatch(/too small/);
    expect(code).toBe(2);
    expect(existsSync(dir)).toBe(false);
  });

  it("cairn down --purge leaves a folder of somebody else alone", async () => {
    const kept = path.join(folder, "kept");
    mkdirSync(kept);
    writeFileSync(path.join(kept, "letter.txt"), "dear");
    const { code } = await cairn("down", "--purge", "--dir", kept);
    expect(code).toBe(1);
    expect(readdirSync(kept)).toEqual(["letter.txt"]);
  });

  it("a damaged cluster.json is named", async () => {
    const damaged = path.join(folder, "damaged");
    mkdirSync(damaged);
    writeFileSync(path.join(damaged, "cluster.json"), '{"kind": "cairn-cluster"');
    const { code, stderr } = await cairn("status", "--dir", damaged);
    expect(stderr).toMatch(/cluster.json is damaged/);
    expect(code).toBe(1);
  });
});

const verbs = [
  "up|down|status|health|create|ls|info|rm|resize|import|export|attach|bench".split("|"),
  "pool create|pool ls|pool rm|pg ls|config set|config get|config ls|crush test".split("|"),
  "osd|osd mkfs|osd tree|osd ls|osd out|osd in|osd down|monitor|monitor mkfs".split("|"),
  "osd set|osd unset|osd primary-affinity|osd export-map|monitor rebuild".split("|"),
  "snap create|trash purge|group snap rollback|config image set|deep cp|log last".split("|"),
].flat();

describe("help", () => {
  it.concurrent.each(verbs)("cairn %s --help", async (verb) => {
    const { code, stdout, stderr } = await cairn(...verb.split(" "), "--help");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(`Usage: cairn ${verb}`);
    if (!verb.startsWith("crush"))
      expect(stdout).toMatch(/Examples:\n {2}cairn|Examples:\n {2}zcat/);
  });

  it("lists all verbs, without and with arguments", async () => {
    const [plain, help] = await Promise.all([cairn(), cairn("--help")]);
    expect(plain.stdout).toBe(help.stdout);
    for (const verb of verbs) expect(help.stdout).toContain(`  ${verb.split(" ")[0]} `);
    expect([plain.code, help.code]).toEqual([0, 0]);
  });

  it("prints the version", async () => {
    expect((await cairn("--version")).stdout).toMatch(/^[0-9]+\.[0-9]+\.[0-9]+\n$/);
  });
});
