// Shapes of the image API v2 on the wire, as Glance's (glance/api/v2/images.py). Properties stand beside the attributes,
// so bodies take any further name as long as its value is a string.
import { Type } from 'typebox';
import { MAX_MAPPING_TEXT, MAX_TAGS, MAX_TEXT } from '../../control/images/rules.ts';
import { CONTAINER_FORMATS, DISK_FORMATS, MEMBER_STATUSES, VISIBILITIES } from '../../control/images.ts';

const MAX_INTEGER = 2 ** 31 - 1;
const oneOf = <const T extends readonly string[]>(values: T) =>
  Type.Unsafe<T[number]>({ type: 'string', enum: [...values] });
const orNull = <S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const text = Type.String({ maxLength: MAX_TEXT });
/** Conditions of one list. */
const MAX_FILTERS = 64;
const flag = Type.String({ pattern: '^([Tt]rue|[Ff]alse|1|0)$' });

export const Params = Type.Object({ id: text }, { additionalProperties: false });
export const TagParams = Type.Object({ id: text, tag: text }, { additionalProperties: false });

export const CreateBody = Type.Object(
  {
    id: Type.Optional(
      Type.String({ pattern: '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$' }),
    ),
    name: Type.Optional(orNull(text)),
    disk_format: Type.Optional(orNull(oneOf(DISK_FORMATS))),
    container_format: Type.Optional(orNull(oneOf(CONTAINER_FORMATS))),
    visibility: Type.Optional(oneOf(VISIBILITIES)),
    owner: Type.Optional(orNull(text)),
    min_disk: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_INTEGER })),
    min_ram: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_INTEGER })),
    protected: Type.Optional(Type.Boolean()),
    os_hidden: Type.Optional(Type.Boolean()),
    tags: Type.Optional(Type.Array(text, { maxItems: MAX_TAGS })),
    block_device_mapping: Type.Optional(Type.String({ maxLength: MAX_MAPPING_TEXT })),
  },
  { additionalProperties: text },
);

/** RFC 6902 as far as Glance takes it; what a value may be depends on the path and is checked there. */
const Pointer = Type.String({ pattern: '^/', minLength: 2, maxLength: 2 * MAX_TEXT });
const value = Type.Optional(Type.Unknown());
const PatchItem = Type.Object(
  { op: oneOf(['add', 'replace', 'remove']), path: Pointer, value },
  { additionalProperties: false },
);
/** As media type …v2.0-json-patch has it: the operation is the name of the path. */
const OldPatchItem = Type.Union([
  Type.Object({ add: Pointer, value }, { additionalProperties: false }),
  Type.Object({ replace: Pointer, value }, { additionalProperties: false }),
  Type.Object({ remove: Pointer, value }, { additionalProperties: false }),
]);
export const PatchBody = Type.Array(Type.Union([PatchItem, OldPatchItem]), { maxItems: 256 });

const whole = Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }));
export const ListQuery = Type.Object(
  {
    id: Type.Optional(text),
    name: Type.Optional(text),
    status: Type.Optional(text),
    visibility: Type.Optional(oneOf([...VISIBILITIES, 'all'])),
    owner: Type.Optional(text),
    disk_format: Type.Optional(text),
    container_format: Type.Optional(text),
    protected: Type.Optional(flag),
    os_hidden: Type.Optional(flag),
    tag: Type.Optional(Type.Array(text, { maxItems: 16 })),
    size: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    size_min: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    size_max: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    ...{ min_ram: whole, min_disk: whole, virtual_size: whole },
    ...{ checksum: Type.Optional(text), os_hash_value: Type.Optional(text) },
    created_at: Type.Optional(text),
    updated_at: Type.Optional(text),
    member_status: Type.Optional(oneOf(['accepted', 'pending', 'rejected', 'all'])),
    limit: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_INTEGER })),
    marker: Type.Optional(text),
    sort_key: Type.Optional(Type.Array(text, { maxItems: 16 })),
    sort_dir: Type.Optional(Type.Array(oneOf(['asc', 'desc']), { maxItems: 16 })),
    sort: Type.Optional(text),
  },
  // Any other is a property's name. Each is a condition of the statement, and no database takes any number of them.
  { additionalProperties: text, maxProperties: MAX_FILTERS },
);

export const Image = Type.Object(
  {
    id: text,
    name: orNull(Type.String()),
    status: oneOf(['queued', 'uploading', 'saving', 'active', 'deactivated']),
    visibility: oneOf(VISIBILITIES),
    owner: Type.String(),
    disk_format: orNull(Type.Unsafe<string>({ type: 'string', enum: [...DISK_FORMATS] })),
    container_format: orNull(Type.Unsafe<string>({ type: 'string', enum: [...CONTAINER_FORMATS] })),
    size: orNull(Type.Integer()),
    virtual_size: orNull(Type.Integer()),
    checksum: orNull(Type.String()),
    os_hash_algo: orNull(Type.String()),
    os_hash_value: orNull(Type.String()),
    min_disk: Type.Integer(),
    min_ram: Type.Integer(),
    protected: Type.Boolean(),
    os_hidden: Type.Boolean(),
    tags: Type.Array(Type.String()),
    created_at: Type.String(),
    updated_at: Type.String(),
    self: Type.String(),
    file: Type.String(),
    schema: Type.String(),
  },
  { additionalProperties: Type.String() },
);

/** What the image service alone writes. */
export const IMAGE_READ_ONLY = [
  ...['status', 'checksum', 'os_hash_algo', 'os_hash_value', 'size', 'virtual_size', 'created_at', 'updated_at'],
  ...['self', 'file', 'schema'],
];

export const MemberParams = Type.Object({ id: text, key: text }, { additionalProperties: false });
export const MemberBody = Type.Object(
  { member: Type.String({ minLength: 1, maxLength: MAX_TEXT }) },
  { additionalProperties: false },
);
/** Glance reads the status and passes over the rest: the `openstack` command sends the member's name along. */
export const MemberStatusBody = Type.Object({ status: oneOf(MEMBER_STATUSES) });
export const Member = Type.Object(
  {
    image_id: text,
    member_id: text,
    status: oneOf(MEMBER_STATUSES),
    created_at: Type.String(),
    updated_at: Type.String(),
    schema: Type.String(),
  },
  { additionalProperties: false },
);
export const MemberList = Type.Object(
  { members: Type.Array(Member), schema: Type.String() },
  { additionalProperties: false },
);

/** What other methods want is not looked at: they are not there. */
export const ImportBody = Type.Object(
  {
    method: Type.Object(
      { name: Type.String({ maxLength: 64 }), uri: Type.Optional(Type.String({ minLength: 1, maxLength: 2048 })) },
      { additionalProperties: true },
    ),
    all_stores: Type.Optional(Type.Boolean()),
    all_stores_must_succeed: Type.Optional(Type.Boolean()),
    stores: Type.Optional(Type.Array(text, { maxItems: 16 })),
  },
  { additionalProperties: false },
);

/** A JSON schema, with a name. */
export const SchemaAnswer = Type.Object(
  {
    name: Type.String(),
    type: Type.Literal('object'),
    properties: Type.Record(Type.String(), Type.Unknown()),
    required: Type.Optional(Type.Array(Type.String())),
  },
  { additionalProperties: true },
);

export const ImportInfo = Type.Object(
  {
    'import-methods': Type.Object(
      { description: Type.String(), type: Type.Literal('array'), value: Type.Array(Type.String()) },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

export const StoresInfo = Type.Object(
  {
    stores: Type.Array(
      Type.Object(
        { id: Type.String(), description: Type.String(), default: Type.Literal('true') },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

export const ImageList = Type.Object(
  {
    images: Type.Array(Image),
    first: Type.String(),
    next: Type.Optional(Type.String()),
    schema: Type.String(),
  },
  { additionalProperties: false },
);
