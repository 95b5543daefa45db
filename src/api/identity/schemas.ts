// Bodies and answers of identity v3, as far as clients of a compute cloud use it.
import { type TSchema, Type } from 'typebox';

const closed = { additionalProperties: false } as const;
const text = (maxLength = 255) => Type.String({ maxLength });
const Id = Type.String({ minLength: 1, maxLength: 255 });
const Name = Type.String({ minLength: 1, maxLength: 255 });

const DomainRef = Type.Object({ id: Type.Optional(Id), name: Type.Optional(Name) }, { ...closed, minProperties: 1 });

const UserRef = Type.Object(
  {
    id: Type.Optional(Id),
    name: Type.Optional(Name),
    domain: Type.Optional(DomainRef),
    password: Type.String({ maxLength: 4096 }),
  },
  closed,
);

const ProjectRef = Type.Object(
  { id: Type.Optional(Id), name: Type.Optional(Name), domain: Type.Optional(DomainRef) },
  { ...closed, minProperties: 1 },
);

export const LoginBody = Type.Object(
  {
    auth: Type.Object(
      {
        identity: Type.Object(
          {
            methods: Type.Array(Type.Union([Type.Literal('password'), Type.Literal('token')]), {
              minItems: 1,
              maxItems: 1,
            }),
            password: Type.Optional(Type.Object({ user: UserRef }, closed)),
            token: Type.Optional(Type.Object({ id: Type.String({ minLength: 1, maxLength: 4096 }) }, closed)),
          },
          closed,
        ),
        scope: Type.Optional(
          Type.Union([
            Type.Literal('unscoped'),
            Type.Object({ unscoped: Type.Object({}, closed) }, closed),
            Type.Object({ project: ProjectRef }, closed),
            Type.Object({ domain: DomainRef }, closed),
            Type.Object({ system: Type.Object({ all: Type.Boolean() }, closed) }, closed),
          ]),
        ),
      },
      closed,
    ),
  },
  closed,
);

const Named = Type.Object({ id: text(), name: text() }, closed);
const InDomain = Type.Object({ id: text(), name: text(), domain: Named }, closed);
const Endpoint = Type.Object(
  { id: text(), interface: text(), region: text(), region_id: text(), url: text(2048) },
  closed,
);
export const Catalog = Type.Array(
  Type.Object({ id: text(), type: text(), name: text(), endpoints: Type.Array(Endpoint) }, closed),
);

export const TokenAnswer = Type.Object(
  {
    token: Type.Object(
      {
        methods: Type.Array(text()),
        user: Type.Object({ ...InDomain.properties, password_expires_at: Type.Null() }, closed),
        project: Type.Optional(InDomain),
        is_domain: Type.Optional(Type.Boolean()),
        roles: Type.Optional(Type.Array(Named)),
        catalog: Type.Optional(Catalog),
        expires_at: text(),
        issued_at: text(),
        audit_ids: Type.Array(text()),
      },
      closed,
    ),
  },
  closed,
);

const Links = Type.Object(
  { self: text(2048), next: Type.Optional(Type.Null()), previous: Type.Optional(Type.Null()) },
  closed,
);
const ListLinks = Type.Object({ self: text(2048), next: Type.Null(), previous: Type.Null() }, closed);

export const Project = Type.Object(
  {
    id: text(),
    name: text(),
    domain_id: text(),
    parent_id: text(),
    description: Type.String(),
    enabled: Type.Boolean(),
    is_domain: Type.Boolean(),
    tags: Type.Array(text()),
    options: Type.Object({}, closed),
    links: Links,
  },
  closed,
);
export const User = Type.Object(
  {
    id: text(),
    name: text(),
    domain_id: text(),
    enabled: Type.Boolean(),
    email: Type.Optional(text()),
    default_project_id: Type.Optional(text()),
    password_expires_at: Type.Null(),
    options: Type.Object({}, closed),
    links: Links,
  },
  closed,
);
export const Role = Type.Object(
  {
    id: text(),
    name: text(),
    domain_id: Type.Null(),
    description: Type.Null(),
    options: Type.Object({}, closed),
    links: Links,
  },
  closed,
);
export const Domain = Type.Object(
  {
    id: text(),
    name: text(),
    description: Type.String(),
    enabled: Type.Boolean(),
    tags: Type.Array(text()),
    options: Type.Object({}, closed),
    links: Links,
  },
  closed,
);

/** `{"<plural>": [...], "links": {...}}` */
export const listOf = (plural: string, item: TSchema): TSchema =>
  Type.Object({ [plural]: Type.Array(item), links: ListLinks }, closed);

/** What may be asked of lists: filters by equality; paging words are taken and change nothing, as in Keystone. */
export const ListQuery = Type.Object(
  {
    name: Type.Optional(text()),
    domain_id: Type.Optional(text()),
    enabled: Type.Optional(text(10)),
    parent_id: Type.Optional(text()),
    user: Type.Optional(text()),
    limit: Type.Optional(Type.Integer({ minimum: 0 })),
    marker: Type.Optional(text()),
    sort_key: Type.Optional(text()),
    sort_dir: Type.Optional(text()),
  },
  closed,
);

export const IdParams = Type.Object({ id: Type.String({ maxLength: 1024 }) }, closed);
