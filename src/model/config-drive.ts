// The config drive: what a server tells its guest about itself on a small read-only disk, in the words of OpenStack's
// metadata (nova/api/metadata/base.py), where cloud-init looks for it.
//
// Theory of operation. The facts are put together once, when the server is created, and kept with its record: so the
// guest reads the same bytes on every host that it ever runs on, whatever was renamed meanwhile. Nova too leaves a config
// drive as it was made. User data is kept beside it, because it is also shown in the API.
// Left out: random_seed, which Nova puts in for guests without a source of entropy; guests here have virtio-rng.
import { isoImage } from './iso9660.ts';

const CONFIG_DRIVE_LABEL = 'config-2';
/** Most characters of user data, in base64 (nova/api/validation: user_data). */
export const MAX_USER_DATA = 65_535;

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

/** What is kept of a config drive. */
export interface ConfigDrive {
  readonly metaData: JsonObject;
  readonly networkData: JsonObject;
}

export interface DriveFacts {
  readonly serverId: string;
  readonly name: string;
  readonly hostname: string;
  readonly projectId: string;
  readonly zone: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly key: { readonly name: string; readonly type?: string; readonly publicKey: string } | null;
  readonly ports: readonly DrivePort[];
  readonly volumes: readonly DriveVolume[];
}

export interface DriveVolume {
  readonly volumeId: string;
  /** Such as /dev/vdb. */
  readonly device: string;
  /** Device tag; null: none. */
  readonly tag: string | null;
}

export interface DrivePort {
  readonly id: string;
  readonly mac: string;
  readonly ip: string;
  /** Of the subnet, such as 10.0.0.0/24. */
  readonly cidr: string;
  readonly gateway: string;
  readonly networkId: string;
  /** Device tag; null: none. */
  readonly tag: string | null;
}

/** The facts in the metadata's words. */
export function configDriveOf(facts: DriveFacts): ConfigDrive {
  const { key } = facts;
  return {
    metaData: {
      uuid: facts.serverId,
      ...(key
        ? {
            public_keys: { [key.name]: key.publicKey },
            keys: [{ name: key.name, type: key.type ?? 'ssh', data: key.publicKey }],
          }
        : {}),
      ...(Object.keys(facts.metadata).length === 0 ? {} : { meta: { ...facts.metadata } }),
      hostname: facts.hostname,
      name: facts.name,
      launch_index: 0,
      availability_zone: facts.zone,
      project_id: facts.projectId,
      // Where they sit on their bus may differ from host to host: guests find a card by its MAC address, and a disk by its
      // serial number.
      devices: [
        ...facts.ports.flatMap(({ mac, tag }) =>
          tag === null ? [] : [{ type: 'nic', bus: 'none', address: 'none', mac, tags: [tag] }],
        ),
        ...facts.volumes.flatMap(({ volumeId, device, tag }) =>
          tag === null
            ? []
            : [{ type: 'disk', bus: 'none', address: 'none', serial: serialOf(volumeId), path: device, tags: [tag] }],
        ),
      ],
      dedicated_cpus: [],
    },
    networkData: {
      links: facts.ports.map(({ id, mac }) => ({
        ...{ id: linkOf(id), vif_id: id, type: 'phy', mtu: null, ethernet_mac_address: mac },
      })),
      networks: facts.ports.map((port, index) => ({
        ...{ id: `network${index}`, type: 'ipv4', link: linkOf(port.id), network_id: port.networkId },
        ...{ ip_address: port.ip, netmask: netmaskOf(port.cidr) },
        routes: [{ network: '0.0.0.0', netmask: '0.0.0.0', gateway: port.gateway }],
        services: [],
      })),
      services: [],
    },
  };
}

/** What a guest sees of a volume's id: a virtio disk's serial number has room for so much of it. */
const serialOf = (volumeId: string): string => volumeId.slice(0, 20);

const linkOf = (portId: string): string => `tap${portId.slice(0, 11)}`;

/** 10.0.0.0/23 → 255.255.254.0 */
export function netmaskOf(cidr: string): string {
  const length = Number(cidr.split('/')[1]);
  const bits = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.');
}

export interface DriveFile {
  readonly path: string;
  /** base64 */
  readonly content: string;
}

/** The files of the drive. `userData`: base64, as it was given; null: none. */
export function configDriveFiles(drive: ConfigDrive, userData: string | null): DriveFile[] {
  const json = (value: JsonObject): string => Buffer.from(JSON.stringify(value)).toString('base64');
  const file = (name: string, content: string): DriveFile => ({ path: `openstack/latest/${name}`, content });
  return [
    file('meta_data.json', json(drive.metaData)),
    file('network_data.json', json(drive.networkData)),
    file('vendor_data.json', json({})),
    ...(userData === null ? [] : [file('user_data', Buffer.from(userData, 'base64').toString('base64'))]),
  ];
}

/** The disk itself, the same bytes for the same files. */
export const configDriveImage = (files: readonly DriveFile[]): Uint8Array<ArrayBuffer> =>
  isoImage(CONFIG_DRIVE_LABEL, new Map(files.map(({ path, content }) => [path, Buffer.from(content, 'base64')])));
