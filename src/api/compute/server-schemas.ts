// Bodies and answers of servers, by microversion.
import { type TSchema, Type } from 'typebox';
import { MAX_USER_DATA } from '../../model/config-drive.ts';
import { versions } from '../http/route.ts';
import { BLOCK_DEVICES, type DisksWish } from './block-devices.ts';
import { closed, Links, nullable, object, Page, StringMap, text } from './common.ts';
import { HINT_KEYS, Hints } from './scheduler-hints.ts';

const Name = Type.String({ minLength: 1, maxLength: 255 });
const Uuid = Type.String({ format: 'uuid' });
/** Nova takes an empty text for none. */
const AccessIp = {
  accessIPv4: Type.Optional(Type.Union([Type.String({ format: 'ipv4' }), Type.Literal('')])),
  accessIPv6: Type.Optional(Type.Union([Type.String({ format: 'ipv6' }), Type.Literal('')])),
};
const DiskConfig = Type.Enum(['AUTO', 'MANUAL']);
/** A count as a number or as text, as Nova takes it. */
const Count = Type.Union([Type.Integer({ minimum: 1, maximum: 1000 }), Type.String({ pattern: '^[1-9][0-9]{0,2}$' })]);
export const Metadata = Type.Record(Type.String({ pattern: '^[a-zA-Z0-9\\-_:. ]{1,255}$' }), text(), {
  additionalProperties: false,
  maxProperties: 1000,
});
/** nova/api/validation/parameter_types.py: tag */
export const Tag = Type.String({ minLength: 1, maxLength: 60, pattern: '^[^,/]*$' });
export const MAX_TAGS = 50;

const NetworkRequest = object({
  uuid: Type.Optional(Uuid),
  port: Type.Optional(nullable(Uuid)),
  fixed_ip: Type.Optional(Type.Union([Type.String({ format: 'ipv4' }), Type.String({ format: 'ipv6' })])),
});
const Networks = Type.Array(NetworkRequest, { maxItems: 16 });
const TaggedNetworks = Type.Array(object({ ...NetworkRequest.properties, tag: Type.Optional(Tag) }), { maxItems: 16 });

const createBase = {
  name: Name,
  imageRef: Type.Optional(text()),
  flavorRef: Type.Union([Name, Type.Integer({ minimum: 0 })]),
  'OS-DCF:diskConfig': Type.Optional(DiskConfig),
  adminPass: Type.Optional(text()),
  metadata: Type.Optional(Metadata),
  availability_zone: Type.Optional(Name),
  key_name: Type.Optional(nullable(Name)),
  security_groups: Type.Optional(Type.Array(object({ name: Name }), { maxItems: 20 })),
  user_data: Type.Optional(nullable(Type.String({ maxLength: MAX_USER_DATA }))),
  config_drive: Type.Optional(nullable(Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })]))),
  min_count: Type.Optional(Count),
  max_count: Type.Optional(Count),
  return_reservation_id: Type.Optional(Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })])),
  ...AccessIp,
};
const networksOptional = { networks: Type.Optional(Networks) };
const taggedOptional = { networks: Type.Optional(TaggedNetworks) };
const networksRequired = { networks: Type.Union([Networks, Type.Enum(['auto', 'none'])]) };
const taggedRequired = { networks: Type.Union([TaggedNetworks, Type.Enum(['auto', 'none'])]) };
const description = { description: Type.Optional(nullable(text())) };
const tags = { tags: Type.Optional(Type.Array(Tag, { maxItems: MAX_TAGS })) };
const LABEL = '[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?';
/** Of the guest: from 2.90 a name, from 2.94 also one with its domain. */
export const HOSTNAMES = {
  plain: { hostname: Type.Optional(Type.String({ minLength: 1, maxLength: 63, pattern: `^${LABEL}$` })) },
  whole: {
    hostname: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: `^${LABEL}(\\.${LABEL})*$` })),
  },
};

/** Where to, for administrators; the name of a hypervisor is its host's. */
const destination = { host: Type.Optional(Name), hypervisor_hostname: Type.Optional(Name) };

const create = (properties: Record<string, TSchema>) =>
  object({
    server: Type.Object({ ...createBase, ...properties }, closed),
    ...Object.fromEntries(HINT_KEYS.map((key) => [key, Type.Optional(Hints)])),
  });

const { plain, tagged, typed } = BLOCK_DEVICES;
export const CreateBody = versions(
  [1, create({ ...networksOptional, ...plain })],
  [19, create({ ...networksOptional, ...plain, ...description })],
  // Device tags were lost by mistake from 2.37 to 2.41 (nova/api/openstack/compute/rest_api_version_history.rst).
  [32, create({ ...taggedOptional, ...tagged, ...description })],
  [37, create({ ...networksRequired, ...plain, ...description })],
  [42, create({ ...taggedRequired, ...tagged, ...description })],
  [52, create({ ...taggedRequired, ...tagged, ...description, ...tags })],
  [67, create({ ...taggedRequired, ...typed, ...description, ...tags })],
  [74, create({ ...taggedRequired, ...typed, ...description, ...tags, ...destination })],
  [90, create({ ...taggedRequired, ...typed, ...description, ...tags, ...destination, ...HOSTNAMES.plain })],
  [94, create({ ...taggedRequired, ...typed, ...description, ...tags, ...destination, ...HOSTNAMES.whole })],
);

/** What the handler reads of any of the versions. */
export interface CreateWish extends DisksWish {
  readonly name: string;
  readonly flavorRef: string | number;
  readonly 'OS-DCF:diskConfig'?: 'AUTO' | 'MANUAL';
  readonly adminPass?: string;
  readonly metadata?: Record<string, string>;
  readonly availability_zone?: string;
  readonly key_name?: string | null;
  readonly security_groups?: readonly { readonly name: string }[];
  readonly user_data?: string | null;
  readonly config_drive?: boolean | string | null;
  readonly min_count?: number | string;
  readonly max_count?: number | string;
  readonly return_reservation_id?: boolean | string;
  readonly networks?:
    | readonly {
        readonly uuid?: string;
        readonly port?: string | null;
        readonly fixed_ip?: string;
        readonly tag?: string;
      }[]
    | 'auto'
    | 'none';
  readonly description?: string | null;
  readonly tags?: readonly string[];
  readonly hostname?: string;
  readonly host?: string;
  readonly hypervisor_hostname?: string;
  readonly accessIPv4?: string;
  readonly accessIPv6?: string;
}

export const CreateAnswer = Type.Union([
  object({
    server: object({
      id: text(),
      adminPass: text(),
      links: Links,
      'OS-DCF:diskConfig': DiskConfig,
      security_groups: Type.Array(object({ name: text() })),
    }),
  }),
  object({ reservation_id: text() }),
]);

const change = { name: Type.Optional(Name), 'OS-DCF:diskConfig': Type.Optional(DiskConfig), ...AccessIp };
const describe = { ...change, description: Type.Optional(nullable(text())) };
export const UpdateBody = versions(
  [1, object({ server: object(change) })],
  [19, object({ server: object(describe) })],
  [90, object({ server: object({ ...describe, ...HOSTNAMES.plain }) })],
  [94, object({ server: object({ ...describe, ...HOSTNAMES.whole }) })],
);

const Addresses = Type.Record(
  Type.String(),
  Type.Array(
    object({
      version: Type.Integer(),
      addr: text(),
      'OS-EXT-IPS:type': Type.Optional(text()),
      'OS-EXT-IPS-MAC:mac_addr': Type.Optional(text()),
    }),
  ),
);

const Flavor = Type.Union([
  object({ id: text(), links: Links }),
  object({
    original_name: text(),
    vcpus: Type.Integer(),
    ram: Type.Integer(),
    disk: Type.Integer(),
    ephemeral: Type.Integer(),
    swap: Type.Integer(),
    extra_specs: Type.Optional(StringMap),
  }),
]);

const optional = <S extends TSchema>(schema: S) => Type.Optional(schema);

/** Keys that come and go with the microversion, the caller and the call are optional here; server-view.ts decides. */
export const Server = object({
  id: text(),
  name: optional(text()),
  status: text(),
  tenant_id: text(),
  user_id: optional(text()),
  metadata: optional(StringMap),
  hostId: optional(text()),
  image: optional(Type.Union([object({ id: text(), links: Links }), Type.Literal('')])),
  flavor: optional(Flavor),
  created: text(),
  updated: optional(text()),
  addresses: optional(Addresses),
  security_groups: optional(Type.Array(object({ name: text() }))),
  accessIPv4: optional(text()),
  accessIPv6: optional(text()),
  links: Links,
  progress: optional(Type.Integer()),
  fault: optional(
    object({ code: Type.Integer(), created: text(), message: Type.String(), details: optional(Type.String()) }),
  ),
  'OS-DCF:diskConfig': optional(DiskConfig),
  'OS-EXT-AZ:availability_zone': optional(text()),
  'OS-EXT-SRV-ATTR:host': optional(nullable(text())),
  'OS-EXT-SRV-ATTR:hypervisor_hostname': optional(nullable(text())),
  'OS-EXT-SRV-ATTR:instance_name': optional(text()),
  'OS-EXT-SRV-ATTR:hostname': optional(text()),
  'OS-EXT-SRV-ATTR:kernel_id': optional(text()),
  'OS-EXT-SRV-ATTR:launch_index': optional(Type.Integer()),
  'OS-EXT-SRV-ATTR:ramdisk_id': optional(text()),
  'OS-EXT-SRV-ATTR:reservation_id': optional(text()),
  'OS-EXT-SRV-ATTR:root_device_name': optional(text()),
  'OS-EXT-SRV-ATTR:user_data': optional(nullable(Type.String())),
  'OS-EXT-STS:vm_state': optional(text()),
  'OS-EXT-STS:task_state': optional(nullable(text())),
  'OS-EXT-STS:power_state': optional(Type.Integer()),
  'OS-SRV-USG:launched_at': optional(nullable(text())),
  'OS-SRV-USG:terminated_at': optional(nullable(text())),
  key_name: optional(nullable(text())),
  config_drive: optional(text()),
  'os-extended-volumes:volumes_attached': optional(
    Type.Array(object({ id: text(), delete_on_termination: optional(Type.Boolean()) })),
  ),
  locked: optional(Type.Boolean()),
  locked_reason: optional(nullable(Type.String())),
  host_status: optional(text()),
  description: optional(nullable(Type.String())),
  tags: optional(Type.Array(text())),
  trusted_image_certificates: optional(Type.Null()),
  server_groups: optional(Type.Array(text())),
  pinned_availability_zone: optional(nullable(text())),
});
export const ServerRef = object({
  id: text(),
  name: optional(text()),
  status: optional(text()),
  tenant_id: optional(text()),
  created: optional(text()),
  links: Links,
});

const flag = Type.Optional(Type.String({ maxLength: 10 }));
const several = Type.Optional(Type.Array(text(), { maxItems: 20 }));
const SORT_KEYS = [
  'access_ip_v4',
  'access_ip_v6',
  'auto_disk_config',
  'availability_zone',
  'config_drive',
  'created_at',
  'display_description',
  'display_name',
  'host',
  'hostname',
  'image_ref',
  'instance_type_id',
  'kernel_id',
  'key_name',
  'launch_index',
  'launched_at',
  'locked',
  'locked_by',
  'node',
  'power_state',
  'progress',
  'project_id',
  'ramdisk_id',
  'root_device_name',
  'task_state',
  'terminated_at',
  'updated_at',
  'user_id',
  'uuid',
  'vm_state',
];

/** Keys that Nova once took, and passes over before 2.75. */
export const IGNORED_SORT_KEYS: readonly string[] = [
  'architecture',
  'cell_name',
  'cleaned',
  'default_ephemeral_device',
  'default_swap_device',
  'deleted',
  'deleted_at',
  'disable_terminate',
  'ephemeral_gb',
  'ephemeral_key_uuid',
  'id',
  'key_data',
  'launched_on',
  'memory_mb',
  'os_type',
  'reservation_id',
  'root_gb',
  'shutdown_terminate',
  'user_data',
  'vcpus',
  'vm_mode',
];

const pattern = (maxLength = 255) => Type.Optional(Type.String({ maxLength, format: 'regex' }));

/** What stands beside a server in Nova's database, and is refused as a filter. */
export const JOINED_TABLES = [
  ...(['block_device_mapping', 'services', 'metadata', 'system_metadata'] as const),
  ...(['info_cache', 'security_groups', 'pci_devices'] as const),
];
const joined = Type.Optional(text());

/** Filters of the lists. What of them counts for whom: see server-query.ts. */
export const ListQuery = object({
  ...Page,
  ...{ name: pattern(), display_name: pattern(), description: pattern(), display_description: pattern() },
  ...{ status: several, vm_state: Type.Optional(text()), task_state: Type.Optional(text()), power_state: pattern() },
  ...{ image: Type.Optional(text()), image_ref: Type.Optional(text()), flavor: pattern(), progress: pattern() },
  ...{ host: Type.Optional(text()), node: pattern(), hostname: pattern(), availability_zone: pattern() },
  ...{ ip: pattern(64), ip6: pattern(64), access_ip_v4: pattern(), access_ip_v6: pattern() },
  ...{ all_tenants: flag, project_id: Type.Optional(text()), tenant_id: Type.Optional(text()) },
  ...{ user_id: Type.Optional(text()), uuid: Type.Optional(text()), key_name: pattern(), reservation_id: pattern() },
  ...{ launch_index: Type.Optional(text()), kernel_id: pattern(), ramdisk_id: pattern(), root_device_name: pattern() },
  ...{ config_drive: pattern(), auto_disk_config: pattern(), locked: flag, locked_by: pattern() },
  ...{ created_at: pattern(), launched_at: pattern(), terminated_at: pattern(), deleted: flag, soft_deleted: flag },
  ...{ tags: pattern(4000), 'tags-any': pattern(4000), 'not-tags': pattern(4000), 'not-tags-any': pattern(4000) },
  ...{ 'changes-since': Type.Optional(text(64)), 'changes-before': Type.Optional(text(64)) },
  ...{ block_device_mapping: joined, services: joined, metadata: joined, system_metadata: joined },
  ...{ info_cache: joined, security_groups: joined, pci_devices: joined },
  sort_key: Type.Optional(Type.Array(Type.Enum([...SORT_KEYS, ...IGNORED_SORT_KEYS]), { maxItems: 10 })),
  sort_dir: Type.Optional(Type.Array(Type.Enum(['asc', 'desc']), { maxItems: 10 })),
});
