// Where the QEMU driver keeps what, under the agent's state directory.
//
//   guests/<server id>/   the guest's user's own: disk.qcow2, disk.spare.qcow2, disk.part (under way), snapshot-<id>.qcow2,
//                         snapshot.part (one under way), console.log, sockets, pid,
//                         config-drive.iso (written anew by the agent at every start)
//   keys/<server id>/<volume id>/   the agent's own, readable for that user: the guest's key to a volume (keys.ts)
//   memory/<server id>.ram   the agent's own: what a suspended guest had in memory (memory.ts); `.part`: being written
//   images/<sha256>.<format>   cached base images, read-only, written by the agent alone
//   logs/<server id>.log  what QEMU said on its standard error since its last start (agent's own)
//   probe.bin             the KVM probe's ROM
//
// Server ids and digests are checked by the contract's schema before they become part of a path.
import { join } from 'node:path';
import { invariant } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { BaseImage } from '../contract.ts';

export class Layout {
  /** Absolute, without symbolic links: it is compared with command lines after a restart. */
  readonly stateDir: string;

  constructor(stateDir: string) {
    this.stateDir = stateDir;
  }

  get guestsDir(): string {
    return join(this.stateDir, 'guests');
  }

  get imagesDir(): string {
    return join(this.stateDir, 'images');
  }

  get keysDir(): string {
    return join(this.stateDir, 'keys');
  }

  get memoryDir(): string {
    return join(this.stateDir, 'memory');
  }

  get logsDir(): string {
    return join(this.stateDir, 'logs');
  }

  guestDir(serverId: string): string {
    invariant(isUuid(serverId), 'a server id is a UUID');
    return join(this.guestsDir, serverId);
  }

  disk(serverId: string): string {
    return join(this.guestDir(serverId), 'disk.qcow2');
  }

  memory(serverId: string): string {
    invariant(isUuid(serverId), 'a server id is a UUID');
    return join(this.memoryDir, `${serverId}.ram`);
  }

  guestKeys(serverId: string): string {
    invariant(isUuid(serverId), 'a server id is a UUID');
    return join(this.keysDir, serverId);
  }

  keys(serverId: string, volumeId: string): string {
    invariant(isUuid(volumeId), 'a volume id is a UUID');
    return join(this.guestKeys(serverId), volumeId);
  }

  /** A second root disk: see agent/spare.ts. */
  spareDisk(serverId: string): string {
    return join(this.guestDir(serverId), 'disk.spare.qcow2');
  }

  /** A disk that is being made or copied; worth nothing after a restart. */
  partialDisk(serverId: string): string {
    return join(this.guestDir(serverId), 'disk.part');
  }

  snapshot(serverId: string, snapshotId: string): string {
    invariant(isUuid(snapshotId), 'a snapshot id is a UUID');
    return join(this.guestDir(serverId), `snapshot-${snapshotId}.qcow2`);
  }

  /** A snapshot that is being made; worth nothing after a restart. */
  partialSnapshot(serverId: string): string {
    return join(this.guestDir(serverId), 'snapshot.part');
  }

  configDrive(serverId: string): string {
    return join(this.guestDir(serverId), 'config-drive.iso');
  }

  pidFile(serverId: string): string {
    return join(this.guestDir(serverId), 'qemu.pid');
  }

  log(serverId: string): string {
    return join(this.logsDir, `${serverId}.log`);
  }

  image(image: Pick<BaseImage, 'sha256' | 'format'>): string {
    invariant(/^[0-9a-f]{64}$/.test(image.sha256), 'a digest is 64 hexadecimal digits');
    return join(this.imagesDir, `${image.sha256}.${image.format}`);
  }

  /** As the overlay's header names its base: relative to the overlay, so that a state directory can be moved. */
  imageFromGuest(image: Pick<BaseImage, 'sha256' | 'format'>): string {
    return `../../images/${image.sha256}.${image.format}`;
  }
}

export const QMP_SOCKET = 'qmp.sock';
export const NBD_SOCKET = 'nbd.sock';
export const GROWN_SOCKET = 'grown.sock';
export const VNC_SOCKET = 'vnc.sock';
export const SERIAL_SOCKET = 'serial.sock';
export const MEMORY_SOCKET = 'memory.sock';
export const CONSOLE_LOG = 'console.log';
/** The part of the console before console.log was emptied. */
export const CONSOLE_OLD = 'console.1.log';
