// How a guest's QEMU has its volumes: over NBD with TLS-PSK, or as a file on a share that this host has mounted; each behind
// a PCIe root port of its own.
//
// Theory of operation. The letter of a volume's device decides everything: the port it is plugged into, the names of its
// node, its key and its device. So nothing need be remembered to unplug it, and the firmware and the guest find volumes
// in the order of their letters. q35 plugs nothing into its root bus while it runs, so there is a root port for each
// letter from the start.
// A guest whose connection breaks waits: its requests stand still and go on when the storage host is back, the daemon or
// its network; after a day without, the guest is paused (`stop`) rather than told that its disk is broken. A guest whose
// access was revoked waits too, and its key opens nothing any more: what it has not written stays unwritten.
// Keys are in files that QEMU reads when the device comes to be; nothing secret is on the command line or in QMP.
import { access, constants } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { type Clock, passed } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { GuestVolume, VolumeConnection, VolumeOnShare, VolumeOverNbd } from '../contract.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { hasDevice, list, type Monitor, unplugDevice } from './hotplug.ts';

/** Requests of a guest wait this long for a storage host that is gone, s. */
const RECONNECT_SECONDS = 24 * 3600;
/** A start waits this long for the storage host, s. */
const OPEN_SECONDS = 10;
/** QEMU's main loop waits for a volume that is plugged in: look before whether anybody is there, ms. */
const KNOCK_LIMIT_MS = 2000;
/** QEMU drops a device's hold on its node some time after the device has left the tree (RCU), ms. */
const RELEASE_LIMIT_MS = 10_000;
const RELEASE_POLL_MS = 20;
/** The serial number of a virtio disk has room for so many characters. */
const SERIAL_LENGTH = 20;
const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
/** Root ports are functions of these slots, eight each; the slots below are for disks and network cards. */
const FIRST_SLOT = 0x18;
const FUNCTIONS = 8;

interface Names {
  readonly port: string;
  readonly device: string;
  readonly node: string;
  readonly key: string;
}

function namesOf({ device }: Pick<GuestVolume, 'device'>): Names {
  const letter = device.slice(-1);
  return { port: `port-${letter}`, device: `vd${letter}`, node: `volume-${letter}`, key: `key-${letter}` };
}

/** Name of the node through which QEMU has the volume. */
export const nodeOf = (volume: Pick<GuestVolume, 'device'>): string => namesOf(volume).node;

/** What this host has for opening volumes. */
export interface VolumePlaces {
  /** Directory with the key of the volume, for those over NBD. */
  keysDir(volumeId: string): string;
  /** Where shares are mounted here, by name. */
  readonly shares: ReadonlyMap<string, string>;
}

/** Command line: a root port for each letter, and the volumes that the guest starts with. */
export function volumeArguments(volumes: readonly GuestVolume[], places: VolumePlaces): string[] {
  const ports = [...LETTERS].flatMap((letter, index) => {
    const address = `${(FIRST_SLOT + Math.floor(index / FUNCTIONS)).toString(16)}.${index % FUNCTIONS}`;
    const multifunction = index % FUNCTIONS === 0 ? ',multifunction=on' : '';
    return ['-device', `pcie-root-port,id=port-${letter},chassis=${index + 1},addr=${address}${multifunction}`];
  });
  const plugged = volumes.flatMap((volume) => {
    const names = namesOf(volume);
    return [
      ...credentials(volume, places).flatMap((object) => ['-object', JSON.stringify(object)]),
      ...['-blockdev', JSON.stringify(blockNode(volume, places))],
      ...[
        '-device',
        Object.entries(device(volume, names))
          .map(([key, value]) => `${key}=${value}`)
          .join(',')
          .slice('driver='.length),
      ],
    ];
  });
  return [...ports, ...plugged];
}

/** One object, or none: a file needs no key. */
function credentials(volume: GuestVolume, places: VolumePlaces) {
  const { volumeId, connection } = volume;
  if (connection.kind === 'share') return [];
  const dir = places.keysDir(volumeId);
  const { key } = namesOf(volume);
  return [{ 'qom-type': 'tls-creds-psk', id: key, endpoint: 'client', dir, username: connection.user }];
}

const blockNode = (volume: GuestVolume, places: VolumePlaces) =>
  volume.connection.kind === 'share'
    ? nodeOnShare(namesOf(volume), volume.connection, places)
    : nodeOverNbd(namesOf(volume), volume.connection);

/** QEMU's own lock on the file keeps a second guest from writing it, where the share's file system knows locks. */
function nodeOnShare({ node }: Names, connection: VolumeOnShare, places: VolumePlaces) {
  const { format, mode } = connection;
  return {
    driver: format,
    'node-name': node,
    file: { driver: 'file', filename: pathOf(connection, places), 'read-only': mode === 'ro', discard: 'unmap' },
    'read-only': mode === 'ro',
    discard: 'unmap',
  };
}

/** HypervisorError for a share that this host does not have. The file's name has no slash in it. */
function pathOf({ share, file }: VolumeOnShare, { shares }: VolumePlaces): string {
  const directory = shares.get(share);
  if (directory === undefined) throw new HypervisorError(`share ${share} is not one that this host has`);
  return join(directory, file);
}

function nodeOverNbd({ node, key }: Names, { host, port, exportName, mode }: VolumeOverNbd) {
  return {
    driver: 'nbd',
    'node-name': node,
    server: { type: 'inet', host, port: String(port) },
    export: exportName,
    'tls-creds': key,
    'reconnect-delay': RECONNECT_SECONDS,
    'open-timeout': OPEN_SECONDS,
    'read-only': mode === 'ro',
    discard: 'unmap',
  };
}

function device(volume: GuestVolume, { device: id, node, port }: Names): Readonly<Record<string, string | number>> {
  return {
    driver: 'virtio-blk-pci',
    id,
    bus: port,
    drive: node,
    serial: volume.volumeId.slice(0, SERIAL_LENGTH),
    // A root disk of the host's own has 1.
    ...(volume.bootIndex === null ? {} : { bootindex: volume.bootIndex + 1 }),
    werror: 'stop',
    rerror: 'stop',
  };
}

/** The guest has the volume afterwards; what is there already stays. Its key is in place. */
export async function plugVolume(
  qemu: Monitor,
  volume: GuestVolume,
  places: VolumePlaces,
  clock: Clock,
): Promise<void> {
  const names = namesOf(volume);
  if (await hasDevice(qemu, names.device)) return;
  await knock(volume.connection, places);
  // What an attempt that was cut short has left.
  await clear(qemu, names, clock);
  try {
    for (const object of credentials(volume, places)) await qemu.execute('object-add', object);
    const node = blockNode(volume, places);
    await qemu.execute('blockdev-add', 'open-timeout' in node ? { ...node, 'open-timeout': 0 } : node);
    await qemu.execute('device_add', device(volume, names));
  } catch (error) {
    await clear(qemu, names, clock);
    throw error;
  }
}

/** The guest has let go of the volume afterwards, whatever it had of it. */
export async function unplugVolume(qemu: Monitor, volume: GuestVolume, clock: Clock, job: JobControl): Promise<void> {
  const names = namesOf(volume);
  await unplugDevice(qemu, names.device, `volume ${volume.volumeId}`, clock, job);
  await clear(qemu, names, clock);
}

/** Takes away node and key, where they are; the device has left the tree. */
async function clear(qemu: Monitor, names: Names, clock: Clock): Promise<void> {
  const deadline = passed(clock) + RELEASE_LIMIT_MS;
  while (!(await removeNode(qemu, names.node))) {
    if (passed(clock) > deadline) throw new HypervisorError(`QEMU does not let go of node ${names.node}`);
    await clock.sleep(RELEASE_POLL_MS);
  }
  if ((await list(qemu, '/objects')).includes(names.key)) await qemu.execute('object-del', { id: names.key });
}

/** False: a device that is on its way out still holds it. */
async function removeNode(qemu: Monitor, node: string): Promise<boolean> {
  const nodes = (await qemu.execute('query-named-block-nodes', { flat: true })) as ReadonlyArray<
    Record<string, unknown>
  >;
  if (!nodes.some((known) => known['node-name'] === node)) return true;
  try {
    await qemu.execute('blockdev-del', { 'node-name': node });
    return true;
  } catch (error) {
    if (error instanceof HypervisorError && /is in use/i.test(error.message)) return false;
    throw error;
  }
}

/** HypervisorError when nobody takes a connection there, or the file is not. */
async function knock(connection: VolumeConnection, places: VolumePlaces): Promise<void> {
  if (connection.kind === 'nbd') return knockAt(connection);
  try {
    await access(pathOf(connection, places), constants.F_OK);
  } catch (error) {
    if (error instanceof HypervisorError) throw error;
    throw new HypervisorError(`the volume is not on share ${connection.share}: ${messageOf(error)}`);
  }
}

async function knockAt({ host, port }: VolumeOverNbd): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = createConnection({ host, port });
    const fail = (why: string) => {
      socket.destroy();
      reject(new HypervisorError(`the volume cannot be reached at ${host}:${port}: ${why}`));
    };
    socket.setTimeout(KNOCK_LIMIT_MS, () => fail('no answer'));
    socket.once('error', (error) => fail(error.message));
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}
