// Where the QEMU storage driver keeps what, under the agent's state directory.
//
//   volumes/<volume id>/   the daemon's user's own: volume.qcow2, volume.part (being made), upload.part (being sent),
//                          the daemon's socket
//   keys/<volume id>/      the agent's own, readable for that user: who may connect (host/qemu/keys.ts)
//   images/                cached base images, as compute hosts keep them (host/qemu/images.ts)
//   logs/<volume id>.log   what the daemon said since its last start (agent's own)
//
// Volume ids are checked by the contract's schema before they become part of a path; nothing else ever does.
import { join } from 'node:path';
import { invariant } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';

export class StorageLayout {
  /** Absolute, without symbolic links: it is compared with command lines after a restart. */
  readonly stateDir: string;

  constructor(stateDir: string) {
    this.stateDir = stateDir;
  }

  get volumesDir(): string {
    return join(this.stateDir, 'volumes');
  }

  get keysDir(): string {
    return join(this.stateDir, 'keys');
  }

  get logsDir(): string {
    return join(this.stateDir, 'logs');
  }

  volumeDir(volumeId: string): string {
    invariant(isUuid(volumeId), 'a volume id is a UUID');
    return join(this.volumesDir, volumeId);
  }

  volume(volumeId: string): string {
    return join(this.volumeDir(volumeId), 'volume.qcow2');
  }

  /** A volume that is being made; worth nothing after a restart. */
  partial(volumeId: string): string {
    return join(this.volumeDir(volumeId), 'volume.part');
  }

  /** What a volume is written anew from: an image, as long as the volume. */
  template(volumeId: string): string {
    return join(this.volumeDir(volumeId), 'rewrite.part');
  }

  /** What is sent of a volume; as long as it is there, so may be the snapshot that it is copied from. */
  outgoing(volumeId: string): string {
    return join(this.volumeDir(volumeId), 'upload.part');
  }

  pidFile(volumeId: string): string {
    return join(this.volumeDir(volumeId), 'daemon.pid');
  }

  keys(volumeId: string): string {
    invariant(isUuid(volumeId), 'a volume id is a UUID');
    return join(this.keysDir, volumeId);
  }

  log(volumeId: string): string {
    invariant(isUuid(volumeId), 'a volume id is a UUID');
    return join(this.logsDir, `${volumeId}.log`);
  }
}
