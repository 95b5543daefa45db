// Bodies and answers of the block storage API (cinder/api/schemas/*.py).
import { type TSchema, Type } from 'typebox';
import { MAX_VOLUME_GB } from '../../model/volumes.ts';
import { Links, nullable, object, StringMap, text } from '../compute/common.ts';
import { ListParameters, Metadata } from './common.ts';
import { Flag } from './filters.ts';

const optional = <S extends TSchema>(schema: S) => Type.Optional(schema);
const uuid = () => Type.String({ format: 'uuid' });
const time = () => text(40);
const Name = nullable(text());
/** A number of GiB, as a number or as text. */
const Size = Type.Union([
  Type.Integer({ minimum: 1, maximum: MAX_VOLUME_GB }),
  Type.String({ pattern: '^0*[1-9][0-9]{0,6}$' }),
]);

/** Fields that clients send with null whether they know them or not. */
const unused = {
  consistencygroup_id: optional(Type.Null()),
  group_id: optional(Type.Null()),
  backup_id: optional(Type.Null()),
};

export const CreateVolume = object({
  volume: object({
    size: optional(nullable(Size)),
    name: optional(Name),
    display_name: optional(Name),
    description: optional(Name),
    display_description: optional(Name),
    imageRef: optional(nullable(text())),
    image_id: optional(nullable(text())),
    snapshot_id: optional(nullable(text())),
    source_volid: optional(nullable(text())),
    volume_type: optional(nullable(text())),
    availability_zone: optional(nullable(text())),
    metadata: optional(nullable(Metadata)),
    multiattach: optional(nullable(Flag)),
    ...unused,
  }),
  'OS-SCH-HNT:scheduler_hints': optional(nullable(Type.Object({}))),
});

const edit = {
  name: optional(Name),
  display_name: optional(Name),
  description: optional(Name),
  display_description: optional(Name),
  metadata: optional(nullable(Metadata)),
};
export const UpdateVolume = object({ volume: Type.Object(edit, { additionalProperties: false, minProperties: 1 }) });
export const UpdateSnapshot = object({
  snapshot: Type.Object(edit, { additionalProperties: false, minProperties: 1 }),
});

const Attachment = object({
  id: uuid(),
  attachment_id: uuid(),
  volume_id: uuid(),
  server_id: uuid(),
  host_name: nullable(text()),
  device: nullable(text()),
  attached_at: nullable(time()),
});

const volume = {
  id: uuid(),
  status: text(),
  size: Type.Integer(),
  availability_zone: text(),
  created_at: time(),
  updated_at: nullable(time()),
  attachments: Type.Array(Attachment),
  name: nullable(text()),
  description: nullable(text()),
  volume_type: nullable(text()),
  snapshot_id: nullable(text()),
  source_volid: nullable(text()),
  metadata: StringMap,
  links: Links,
  user_id: text(),
  bootable: Type.Enum(['true', 'false']),
  encrypted: Type.Boolean(),
  replication_status: nullable(text()),
  consistencygroup_id: Type.Null(),
  multiattach: Type.Boolean(),
  migration_status: optional(Type.Null()),
  group_id: optional(Type.Null()),
  provider_id: optional(Type.Null()),
  service_uuid: optional(nullable(text())),
  shared_targets: optional(nullable(Type.Boolean())),
  cluster_name: optional(Type.Null()),
  volume_type_id: optional(uuid()),
  consumes_quota: optional(Type.Boolean()),
};
/** As the answer to a create and an update shows it. */
export const Volume = object(volume);
/** As it is shown and listed: with what only some may see. */
export const FullVolume = object({
  ...volume,
  'os-vol-host-attr:host': optional(nullable(text())),
  'os-vol-tenant-attr:tenant_id': optional(text()),
  'os-vol-mig-status-attr:migstat': optional(Type.Null()),
  'os-vol-mig-status-attr:name_id': optional(Type.Null()),
  volume_image_metadata: optional(StringMap),
});
export const VolumeRef = object({ id: uuid(), name: nullable(text()), links: Links });

export const VolumeQuery = object({
  ...ListParameters,
  availability_zone: optional(text()),
  bootable: optional(text(10)),
  multiattach: optional(text(10)),
  metadata: optional(text(4000)),
  snapshot_id: optional(text()),
  host: optional(text()),
  size: optional(text()),
  created_at: optional(text()),
  updated_at: optional(text()),
  glance_metadata: optional(text(4000)),
  // Known to clients, and true of none or all volumes here.
  consumes_quota: optional(text(10)),
  migration_status: optional(text()),
  consistencygroup_id: optional(text()),
  group_id: optional(text()),
});

export const CreateSnapshot = object({
  snapshot: object({
    // None is there: 404, as Cinder answers.
    volume_id: nullable(text()),
    name: optional(Name),
    display_name: optional(Name),
    description: optional(Name),
    display_description: optional(Name),
    force: optional(nullable(Flag)),
    metadata: optional(nullable(Metadata)),
  }),
});
const snapshot = {
  id: uuid(),
  volume_id: uuid(),
  status: text(),
  size: Type.Integer(),
  name: nullable(text()),
  description: nullable(text()),
  metadata: StringMap,
  created_at: time(),
  updated_at: nullable(time()),
  user_id: optional(text()),
  group_snapshot_id: optional(Type.Null()),
  consumes_quota: optional(Type.Boolean()),
};
export const Snapshot = object(snapshot);
export const FullSnapshot = object({
  ...snapshot,
  'os-extended-snapshot-attributes:progress': optional(text()),
  'os-extended-snapshot-attributes:project_id': optional(text()),
});
export const SnapshotQuery = object({
  ...ListParameters,
  volume_id: optional(text()),
  availability_zone: optional(text()),
  metadata: optional(text(4000)),
  // True of all.
  consumes_quota: optional(text(10)),
});

export const Item = object({ metadata: Metadata });
export const Meta = object({ meta: Metadata });
export const MetadataAnswer = object({ metadata: StringMap });
export const MetaAnswer = object({ meta: StringMap });
