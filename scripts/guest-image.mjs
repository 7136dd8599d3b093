// Makes the demo guest's disk: Debian's cloud kernel, busybox, GRUB, ext4, as qcow2. No root
// needed: packages are downloaded and unpacked, the file system is filled by mke2fs, GRUB is placed
// by hand.
//
// The disk: MBR (GRUB's boot.img, one partition), GRUB's core.img from sector 1, and an ext4
// partition from 1 MiB that holds /boot and the whole userland. Imports node:* only.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { rootFolder, runMain, step, UserError } from "./environment.mjs";

const diskBytes = 192 * 1024 * 1024;
const partitionStartBytes = 1024 * 1024;
const sectorBytes = 512;
const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"];
// Modules in load order: virtio_ring before virtio (the later ones need both).
const kernelModules = [
  "virtio_ring",
  "virtio",
  "virtio_pci_legacy_dev",
  "virtio_pci_modern_dev",
  "virtio_pci",
  "virtio_blk",
  "crc16",
  "crc32c_generic",
  "libcrc32c",
  "mbcache",
  "jbd2",
  "ext4",
];

const initScript = `#!/bin/busybox sh
# The initial userland: loads the drivers, mounts the disk, hands over to its /sbin/init.
/bin/busybox mount -t devtmpfs dev /dev
for module in ${kernelModules.join(" ")}; do
  [ -f /modules/$module.ko ] && /bin/busybox insmod /modules/$module.ko
done
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  [ -b /dev/vda1 ] && break
  /bin/busybox sleep 0.2
done
/bin/busybox mount -t ext4 /dev/vda1 /root || exec /bin/busybox sh
exec /bin/busybox switch_root /root /sbin/init
`;

const bootScript = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -o remount,rw /
hostname cairn-guest
boots=$(cat /var/boots 2>/dev/null || echo 0)
echo $((boots + 1)) > /var/boots
sync
echo "This disk has been booted $((boots + 1)) times; root is $(df -h / | tail -n 1)"
echo GUEST-READY
`;

const inittab = `::sysinit:/etc/boot
ttyS0::respawn:/bin/sh -l
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
`;

const grubConfig = `serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
menuentry cairn {
  linux /boot/vmlinuz root=/dev/vda1 console=ttyS0 quiet panic=-1
  initrd /boot/initrd
}
`;

function tool(command, args, options = {}) {
  try {
    return execFileSync(command, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      ...options,
    });
  } catch (error) {
    throw new UserError(`${command} ${args.join(" ")} failed:\n${error.stderr ?? error.message}`);
  }
}

/** Downloads a Debian package and unpacks it into a folder; nothing is installed. */
function unpackPackage(name, work, into) {
  const folder = join(work, `deb-${name}`);
  mkdirSync(folder);
  tool("apt-get", ["download", "-q", name], { cwd: folder });
  const [file] = readdirSync(folder);
  tool("dpkg-deb", ["-x", join(folder, file), into]);
}

function kernelPackage() {
  const text = tool("apt-cache", ["depends", "linux-image-cloud-amd64"]);
  const found = /Depends: (linux-image-\S+-cloud-amd64)/.exec(text);
  if (!found)
    throw new UserError("no linux-image-cloud-amd64 in the package lists: run apt-get update");
  return found[1];
}

function findFile(folder, name) {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() && entry.name === name)
      return join(entry.parentPath ?? entry.path, entry.name);
  }
  return undefined;
}

/** A cpio archive in the newc format (man 5 cpio) of [name, mode, bytes] entries. */
function cpioArchive(entries) {
  const parts = [];
  const pad = (length) => Buffer.alloc((4 - (length % 4)) % 4);
  entries.forEach(([name, mode, bytes], index) => {
    const fields = [index + 1, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, 0];
    const header = `070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}${name}\0`;
    parts.push(Buffer.from(header), pad(header.length), bytes, pad(bytes.length));
  });
  return Buffer.concat(parts);
}

function makeInitialRamDisk(kernelFolder, busybox) {
  const folder = (name) => [name, 0o040755, Buffer.alloc(0)];
  const entries = [folder("bin"), folder("dev"), folder("root"), folder("modules")];
  entries.push(["bin/busybox", 0o100755, readFileSync(busybox)]);
  entries.push(["init", 0o100755, Buffer.from(initScript)]);
  for (const name of kernelModules) {
    const path = findFile(join(kernelFolder, "lib/modules"), `${name}.ko`);
    // A module that is built into this kernel has no file.
    if (path) entries.push([`modules/${name}.ko`, 0o100644, readFileSync(path)]);
  }
  return cpioArchive([...entries, ["TRAILER!!!", 0, Buffer.alloc(0)]]);
}

function makeRootFolder(root, kernelFolder, busybox) {
  for (const name of [
    "bin",
    "sbin",
    "dev",
    "proc",
    "sys",
    "etc",
    "tmp",
    "var",
    "root",
    "boot/grub",
  ]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync(busybox, join(root, "bin/busybox"));
  chmodSync(join(root, "bin/busybox"), 0o755);
  for (const applet of tool(busybox, ["--list"]).trim().split("\n")) {
    if (applet !== "busybox" && applet !== "init")
      symlinkSync("busybox", join(root, "bin", applet));
  }
  symlinkSync("../bin/busybox", join(root, "sbin/init"));
  writeFileSync(join(root, "etc/inittab"), inittab);
  writeFileSync(join(root, "etc/boot"), bootScript, { mode: 0o755 });
  writeFileSync(join(root, "etc/profile"), "export PATH=/bin:/sbin PS1='cairn-guest# '\n");
  writeFileSync(join(root, "boot/grub/grub.cfg"), grubConfig);
  const kernel = readdirSync(join(kernelFolder, "boot")).find((name) =>
    name.startsWith("vmlinuz-"),
  );
  copyFileSync(join(kernelFolder, "boot", kernel), join(root, "boot/vmlinuz"));
  writeFileSync(join(root, "boot/initrd"), makeInitialRamDisk(kernelFolder, busybox));
}

/** Puts GRUB where the BIOS looks: boot.img in the MBR, core.img behind it, one partition entry. */
function writeBootSectors(disk, work) {
  const modules = "/usr/lib/grub/i386-pc";
  if (!existsSync(join(modules, "boot.img"))) throw new UserError("grub-pc-bin is not installed");
  const core = join(work, "core.img");
  tool("grub-mkimage", [
    "-O",
    "i386-pc",
    "-d",
    modules,
    "-o",
    core,
    "-p",
    "(hd0,msdos1)/boot/grub",
    "biosdisk",
    "part_msdos",
    "ext2",
    "linux",
    "normal",
    "serial",
    "terminal",
    "configfile",
    "echo",
  ]);
  const boot = Buffer.from(readFileSync(join(modules, "boot.img")).subarray(0, sectorBytes));
  const partition = 446;
  boot.fill(0, partition, 510);
  boot[partition] = 0x80; // active
  boot.fill(0xff, partition + 1, partition + 4); // CHS: use LBA
  boot[partition + 4] = 0x83;
  boot.fill(0xff, partition + 5, partition + 8);
  boot.writeUInt32LE(partitionStartBytes / sectorBytes, partition + 8);
  boot.writeUInt32LE((diskBytes - partitionStartBytes) / sectorBytes, partition + 12);
  boot.writeUInt16LE(0xaa55, 510);
  const coreBytes = readFileSync(core);
  if (coreBytes.length > partitionStartBytes - sectorBytes) {
    throw new UserError("GRUB's core image does not fit before the partition");
  }
  const fd = openSync(disk, "r+");
  writeSync(fd, boot, 0, boot.length, 0);
  writeSync(fd, coreBytes, 0, coreBytes.length, sectorBytes);
  closeSync(fd);
}

/** Builds the image at `target` (qcow2); an interrupted build leaves nothing there. */
export async function makeGuestImage(target) {
  mkdirSync(dirname(target), { recursive: true });
  const work = mkdtempSync(join(dirname(target), "work-"));
  // Ctrl-C ends the tool that runs, and what follows removes the folder.
  const keepRunning = () => undefined;
  for (const name of stopSignals) process.on(name, keepRunning);
  try {
    const kernelFolder = join(work, "kernel");
    const busyboxFolder = join(work, "busybox");
    await step("downloading the guest's kernel and busybox", async () => {
      unpackPackage(kernelPackage(), work, kernelFolder);
      unpackPackage("busybox-static", work, busyboxFolder);
    });
    await step("making the guest's disk", async () => {
      const root = join(work, "root");
      makeRootFolder(root, kernelFolder, findFile(busyboxFolder, "busybox"));
      const disk = join(work, "disk.raw");
      writeFileSync(disk, "");
      truncateSync(disk, diskBytes);
      const blocks = `${(diskBytes - partitionStartBytes) / 1024}k`;
      tool("/sbin/mke2fs", [
        "-q",
        "-t",
        "ext4",
        "-O",
        "^64bit,^metadata_csum",
        "-L",
        "cairn-guest",
        "-E",
        `offset=${partitionStartBytes},root_owner=0:0`,
        "-d",
        root,
        disk,
        blocks,
      ]);
      writeBootSectors(disk, work);
      tool("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", disk, join(work, "disk.qcow2")]);
      renameSync(join(work, "disk.qcow2"), target);
    });
    process.stderr.write(`  ${target}: ${(statSync(target).size / 1048576).toFixed(0)} MiB\n`);
  } finally {
    for (const name of stopSignals) process.removeListener(name, keepRunning);
    rmSync(work, { recursive: true, force: true });
  }
}

export const demoImagePath = join(rootFolder, ".cache/guest/demo-v1.qcow2");

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  runMain(() => makeGuestImage(demoImagePath));
}
