// The command line of a guest's QEMU.
//
// Theory of operation. Pure. Nothing that a user typed gets onto it: names are derived from the server id, addresses
// are parsed and written anew, disks are given as JSON. Paths are the agent's own, relative to the guest's directory
// where they may be. The base image is named here, not taken from the overlay's header, and both formats are stated, so
// that nothing in an image's bytes decides which file is opened.
// Rights: no monitor but QMP, no display but VNC, and the serial line, all on unix sockets in a directory of the guest's
// user that nobody else may enter; no default devices, and QEMU's seccomp sandbox. Guests have user-mode networking
// without a way out (restrict=on).
import type { BaseImage, GuestSpec } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import { CONSOLE_LOG, QMP_SOCKET, SERIAL_SOCKET, VNC_SOCKET } from './layout.ts';
import { portArguments } from './nics.ts';

export interface CommandFacts {
  readonly serverId: string;
  readonly spec: GuestSpec;
  readonly accelerator: 'kvm' | 'tcg';
  /** Used with a root disk of the host's own. */
  readonly diskPath: string;
  readonly imagePath: string;
  /** The disk that it boots from instead, its own being the second one then; null: none. */
  readonly rescue: {
    readonly diskPath: string /** Behind all other disks. */;
    readonly last: boolean;
    readonly imagePath: string;
    readonly format: BaseImage['format'];
  } | null;
  readonly configDrivePath: string;
  readonly pidFile: string;
  /** It loads its memory from the file that it is given as its third, and stands still then. */
  readonly fromMemory: boolean;
  /** See volumes.ts. */
  readonly volumeArguments: readonly string[];
}

/** TCG's cache of translated code, MiB: the default (an eighth of the host's memory) costs 40 MiB more per guest. */
const TCG_CACHE_MB = 32;
/** More than this, and QEMU's q35 needs an IOMMU with interrupt remapping. */
const MAX_VCPUS = 255;

/** Enough for 1600 by 1200. */
const SCREEN_MEMORY_MB = 8;
/** Whoever reads it, what the guest prints is kept (console.ts). */
const SERIAL_LINE = `socket,id=console,path=${SERIAL_SOCKET},server=on,wait=off,logfile=${CONSOLE_LOG},logappend=on`;

/** Arguments for qemu-system-x86_64; HypervisorError when the specification cannot be run by it. */
export function qemuArguments(facts: CommandFacts): string[] {
  const { serverId, spec, accelerator } = facts;
  if (spec.vcpus > MAX_VCPUS) throw new HypervisorError(`QEMU runs at most ${MAX_VCPUS} vCPUs`);
  return [
    ...['-name', `guest=${serverId}`, '-uuid', serverId],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-pidfile', facts.pidFile],
    ...['-machine', 'q35', '-accel', accelerator === 'kvm' ? 'kvm' : `tcg,tb-size=${TCG_CACHE_MB}`],
    ...['-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ...['-smp', String(spec.vcpus), '-m', `${spec.memoryMb}M`],
    ...['-rtc', 'base=utc', '-boot', 'menu=off,strict=on'],
    ...['-chardev', `socket,id=qmp,path=${QMP_SOCKET},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
    // The first disk on the bus is the first that the guest sees.
    ...(facts.rescue && !facts.rescue.last ? diskArguments('rescue', facts.rescue, 0) : []),
    ...(spec.root.kind === 'image' ? diskArguments('root', { ...facts, format: spec.root.image.format }, 1) : []),
    ...facts.volumeArguments,
    ...(spec.configDrive ? configDriveArguments(facts.configDrivePath) : []),
    ...['-chardev', SERIAL_LINE, '-serial', 'chardev:console'],
    ...['-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng'],
    ...portArguments(spec.ports),
    ...['-vnc', `unix:${VNC_SOCKET}`, '-device', `VGA,id=screen,vgamem_mb=${SCREEN_MEMORY_MB}`],
    // A pointer that is where the viewer's is: PS/2 alone knows only how far it went.
    ...['-device', 'qemu-xhci,id=usb', '-device', 'usb-tablet,id=pointer,bus=usb.0'],
    // Devices take their places on the bus in this order: behind all others it moves none of them.
    ...(facts.rescue?.last ? diskArguments('rescue', facts.rescue, 0) : []),
    ...(facts.fromMemory ? ['-S', '-incoming', 'fd:3'] : []),
  ];
}

/** An overlay and its base, as nodes `<name>-disk` and `<name>-base`. A root volume has boot index 1 as well. */
function diskArguments(
  name: 'root' | 'rescue',
  disk: { readonly diskPath: string; readonly imagePath: string; readonly format: BaseImage['format'] },
  bootIndex: number,
): string[] {
  const baseFile = { driver: 'file', filename: disk.imagePath, 'read-only': true };
  const base = { driver: disk.format, 'node-name': `${name}-base`, 'read-only': true, file: baseFile };
  const overlay = {
    driver: 'qcow2',
    'node-name': `${name}-disk`,
    discard: 'unmap',
    file: { driver: 'file', filename: disk.diskPath, locking: 'on', discard: 'unmap' },
    // A qcow2 base must not have a base of its own, whatever its header says.
    backing: disk.format === 'qcow2' ? { ...base, backing: null } : base,
  };
  const device = `virtio-blk-pci,id=${name},drive=${name}-disk,bootindex=${bootIndex}`;
  return ['-blockdev', JSON.stringify(overlay), '-device', device];
}

/**
 * As a CD, as in Nova: a disk would take a name (/dev/vdb) that a volume may be given. On a virtio bus: kernels made for
 * clouds have no driver of q35's own (AHCI).
 */
function configDriveArguments(path: string): string[] {
  const file = { driver: 'file', filename: path, 'read-only': true };
  const disk = { driver: 'raw', 'node-name': 'config-drive', 'read-only': true, file };
  return [
    ...['-blockdev', JSON.stringify(disk), '-device', 'virtio-scsi-pci,id=config-bus'],
    ...['-device', 'scsi-cd,id=config,bus=config-bus.0,drive=config-drive'],
  ];
}
