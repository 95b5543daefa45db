// Bodies and answers of identity v3. Unknown fields are refused, also where Keystone would keep them as extra attributes;
// not those beside a login's identity and scope, which it passes over.
import { type TSchema, Type } from 'typebox';
import { MAX_TAGS } from '../../control/identity/project-tags.ts';

export const closed = { additionalProperties: false } as const;
export const object = <P extends Record<string, TSchema>>(properties: P) => Type.Object(properties, closed);
export const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
export const text = (maxLength = 255) => Type.String({ maxLength });

// No database keeps a NUL.
const NO_NUL = '^[^\\u0000]*$';
const Id = Type.String({ minLength: 1, maxLength: 64, pattern: '^[\\w-]+$' });
const Name = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$' });
const Description = Type.String({ maxLength: 4096, pattern: NO_NUL });
const Password = Type.String({ minLength: 1, maxLength: 1024, pattern: NO_NUL });
const Email = Type.String({ maxLength: 255, pattern: NO_NUL });
const Asked = Type.String({ maxLength: 255, pattern: NO_NUL });
export const asked = Type.Optional(Asked);

const DomainRef = Type.Object({ id: Type.Optional(Id), name: Type.Optional(Name) }, { ...closed, minProperties: 1 });
const UserRef = { id: Type.Optional(Id), name: Type.Optional(Name), domain: Type.Optional(DomainRef) };
const ProjectRef = Type.Object(UserRef, { ...closed, minProperties: 1 });

export const LoginBody = object({
  // Keystone passes over what it does not know here: pkgcloud sends tenantName as well.
  auth: Type.Object(
    {
      identity: Type.Object(
        {
          methods: Type.Array(text(), { minItems: 1, maxItems: 1 }),
          password: Type.Optional(object({ user: object({ ...UserRef, password: text(4096) }) })),
          token: Type.Optional(object({ id: Type.String({ minLength: 1, maxLength: 4096 }) })),
          application_credential: Type.Optional(
            object({
              id: Type.Optional(Id),
              name: Type.Optional(Name),
              user: Type.Optional(ProjectRef),
              secret: Type.String({ minLength: 1, maxLength: 4096 }),
            }),
          ),
        },
        // What belongs to a method that is not offered.
        { additionalProperties: true },
      ),
      scope: Type.Optional(
        Type.Union([
          Type.Literal('unscoped'),
          object({ unscoped: object({}) }),
          object({ project: ProjectRef }),
          object({ domain: DomainRef }),
          object({ system: object({ all: Type.Literal(true) }) }),
        ]),
      ),
    },
    { additionalProperties: true },
  ),
});

const Named = object({ id: text(), name: text() });
const InDomain = object({ id: text(), name: text(), domain: Named });
const EndpointInCatalog = object({
  ...{ id: text(), interface: text(), region: text(), region_id: text(), url: text(2048) },
});
export const Catalog = Type.Array(
  object({ id: text(), type: text(), name: text(), endpoints: Type.Array(EndpointInCatalog) }),
);

export const TokenAnswer = object({
  token: object({
    methods: Type.Array(text()),
    user: object({ ...InDomain.properties, password_expires_at: Type.Null() }),
    project: Type.Optional(InDomain),
    is_domain: Type.Optional(Type.Boolean()),
    domain: Type.Optional(Named),
    system: Type.Optional(object({ all: Type.Literal(true) })),
    application_credential: Type.Optional(object({ id: text(), name: text(), restricted: Type.Boolean() })),
    roles: Type.Optional(Type.Array(Named)),
    catalog: Type.Optional(Catalog),
    expires_at: text(),
    issued_at: text(),
    audit_ids: Type.Array(text()),
  }),
});

export const Links = object({ self: text(2048) });
const ListLinks = object({ self: text(2048), next: Type.Null(), previous: Type.Null() });
const NoOptions = object({});

export const Project = object({
  ...{ id: text(), name: text(), domain_id: text(), parent_id: text(), description: Type.String() },
  ...{ enabled: Type.Boolean(), is_domain: Type.Boolean(), tags: Type.Array(text()), options: NoOptions, links: Links },
});
/** With what is above and below it: projects, or ids in one another. */
export const ProjectInTree = object({
  ...Project.properties,
  ...{ parents: Type.Optional(Type.Unknown()), subtree: Type.Optional(Type.Unknown()) },
});
/** Options that mean something here, or that promise nothing more than what always holds. */
const UserOptions = object({
  ignore_change_password_upon_first_use: Type.Optional(Type.Boolean()),
  ignore_password_expiry: Type.Optional(Type.Boolean()),
  ignore_lockout_failure_attempts: Type.Optional(Type.Boolean()),
  ignore_user_inactivity: Type.Optional(Type.Boolean()),
  lock_password: Type.Optional(Type.Boolean()),
});
export const User = object({
  ...{ id: text(), name: text(), domain_id: text(), enabled: Type.Boolean() },
  description: Type.Optional(Type.String()),
  email: Type.Optional(text()),
  default_project_id: Type.Optional(text()),
  /** An attribute of no meaning: shown where it was given. */
  project_id: Type.Optional(text()),
  ...{ password_expires_at: Type.Null(), options: UserOptions, links: Links },
});
export const Group = object({
  ...{ id: text(), name: text(), domain_id: text(), description: nullable(Type.String()), links: Links },
});
export const Role = object({
  ...{ id: text(), name: text(), domain_id: Type.Null(), description: nullable(Type.String()) },
  ...{ options: NoOptions, links: Links },
});
export const Domain = object({
  ...{ id: text(), name: text(), description: Type.String(), enabled: Type.Boolean() },
  ...{ tags: Type.Array(text()), options: NoOptions, links: Links },
});
const CredentialShown = {
  ...{ id: text(), name: text(), description: nullable(Type.String()), project_id: text() },
  ...{ user_id: text(), unrestricted: Type.Boolean(), expires_at: nullable(text()), system: Type.Null() },
  roles: Type.Array(object({ id: text(), name: text(), domain_id: Type.Null() })),
  links: Links,
};
export const ApplicationCredential = object(CredentialShown);
export const NewApplicationCredential = object({ ...CredentialShown, secret: text(1024) });
export const Service = object({
  ...{ id: text(), type: text(), name: text(), description: Type.String(), enabled: Type.Boolean(), links: Links },
});
export const Endpoint = object({
  ...{ id: text(), interface: text(), region: text(), region_id: text(), service_id: text(), url: text(2048) },
  ...{ enabled: Type.Boolean(), links: Links },
});
export const Region = object({
  ...{ id: text(), description: Type.String(), parent_region_id: Type.Null(), links: Links },
});
const NamedOrNot = object({ id: text(), name: Type.Optional(text()), domain: Type.Optional(Named) });
export const RoleAssignment = object({
  role: object({ id: text(), name: Type.Optional(text()) }),
  /** A user's or a group's. */
  user: Type.Optional(NamedOrNot),
  group: Type.Optional(NamedOrNot),
  scope: Type.Union([
    object({ project: NamedOrNot }),
    object({ domain: object({ id: text(), name: Type.Optional(text()) }) }),
    object({ system: object({ all: Type.Literal(true) }) }),
  ]),
  links: object({
    assignment: text(2048),
    membership: Type.Optional(text(2048)),
    prior_role: Type.Optional(text(2048)),
  }),
});

const RoleInBrief = object({ id: text(), name: text(), links: Links });
export const RoleInferences = object({
  role_inferences: Type.Array(object({ prior_role: RoleInBrief, implies: Type.Array(RoleInBrief) })),
  links: Links,
});

/** `{"<plural>": [...], "links": {...}}`; truncated: there is more than a list shows. */
export const listOf = (plural: string, item: TSchema): TSchema =>
  object({ [plural]: Type.Array(item), links: ListLinks, truncated: Type.Optional(Type.Literal(true)) });
export const one = (singular: string, item: TSchema): TSchema => object({ [singular]: item });

// Bodies.

const Tag = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^,/\\u0000]+$' });
const Tags = Type.Array(Tag, { maxItems: MAX_TAGS, uniqueItems: true });
export const ReplaceTags = object({ tags: Tags });
export const TagsAnswer = object({ tags: Type.Array(text()), links: Links });
const ProjectWish = {
  description: Type.Optional(nullable(Description)),
  enabled: Type.Optional(Type.Boolean()),
  options: Type.Optional(NoOptions),
  tags: Type.Optional(Tags),
};
const ProjectName = Type.String({ ...Name, maxLength: 64 });
export const CreateProject = object({
  project: object({
    ...{ name: ProjectName, domain_id: Type.Optional(nullable(Id)), parent_id: Type.Optional(nullable(Id)) },
    ...{ is_domain: Type.Optional(Type.Literal(false)), ...ProjectWish },
  }),
});
/** The domain may be named again, but not changed. */
export const UpdateProject = object({
  project: object({ name: Type.Optional(ProjectName), domain_id: Type.Optional(Id), ...ProjectWish }),
});

const UserWish = {
  description: Type.Optional(nullable(Description)),
  email: Type.Optional(nullable(Email)),
  default_project_id: Type.Optional(nullable(Id)),
  /** An attribute of no meaning, as in Keystone; shown where it was given. */
  project_id: Type.Optional(nullable(Id)),
  enabled: Type.Optional(Type.Boolean()),
  options: Type.Optional(UserOptions),
  password: Type.Optional(nullable(Password)),
};
export const CreateUser = object({
  user: object({
    ...{ name: Name, domain_id: Type.Optional(nullable(Id)), ...UserWish },
  }),
});
export const UpdateUser = object({
  user: object({ name: Type.Optional(Name), id: Type.Optional(Id), domain_id: Type.Optional(Id), ...UserWish }),
});
export const ChangePassword = object({ user: object({ original_password: text(4096), password: Password }) });

export const CreateGroup = object({
  group: object({
    ...{ name: ProjectName, domain_id: Type.Optional(nullable(Id)), description: Type.Optional(nullable(Description)) },
    // Older clients' way of saying where they are: a group is in no project.
    project_id: Type.Optional(nullable(Id)),
  }),
});
/** The domain may be named again, but not changed. */
export const UpdateGroup = object({
  group: object({
    name: Type.Optional(ProjectName),
    ...{ domain_id: Type.Optional(Id), description: Type.Optional(nullable(Description)) },
  }),
});

export const CreateRole = object({
  role: object({
    ...{ name: Name, description: Type.Optional(nullable(Description)), domain_id: Type.Optional(Type.Null()) },
    options: Type.Optional(NoOptions),
  }),
});
export const UpdateRole = object({
  role: object({
    ...{ name: Type.Optional(Name), description: Type.Optional(nullable(Description)) },
    options: Type.Optional(NoOptions),
  }),
});
const DomainWish = {
  description: Type.Optional(nullable(Description)),
  enabled: Type.Optional(Type.Boolean()),
  options: Type.Optional(NoOptions),
};
export const CreateDomain = object({ domain: object({ name: ProjectName, ...DomainWish }) });
export const UpdateDomain = object({ domain: object({ name: Type.Optional(ProjectName), ...DomainWish }) });

const RoleRef = Type.Object({ id: Type.Optional(Id), name: Type.Optional(Name) }, { ...closed, minProperties: 1 });
export const CreateCredential = object({
  application_credential: object({
    name: Name,
    description: Type.Optional(nullable(Description)),
    secret: Type.Optional(nullable(Password)),
    expires_at: Type.Optional(nullable(text(40))),
    roles: Type.Optional(Type.Array(RoleRef, { maxItems: 100 })),
    unrestricted: Type.Optional(Type.Boolean()),
    // A credential that may do less than its roles is not there: none may be asked for.
    access_rules: Type.Optional(Type.Array(Type.Never(), { maxItems: 0 })),
  }),
});

// Queries.

const Flag = Type.Optional(Type.String({ maxLength: 10 }));
/** Filters by equality; a limit cuts off. Markers and orders are taken and change nothing, as in Keystone. */
export const query = <P extends Record<string, TSchema>>(filters: P) =>
  object({
    ...filters,
    limit: Type.Optional(Type.Integer({ minimum: 0 })),
    marker: Type.Optional(text()),
    sort_key: Type.Optional(text()),
    sort_dir: Type.Optional(text()),
  });
export const ByName = {
  name: Type.Optional(Asked),
  ...{ name__contains: asked, name__startswith: asked, name__endswith: asked },
  ...{ name__icontains: asked, name__istartswith: asked, name__iendswith: asked },
};
export const ByNameInDomain = { ...ByName, domain_id: Type.Optional(Asked) };
export const ByNameAndState = { ...ByName, enabled: Flag };
export const ByDomain = { ...ByNameAndState, domain_id: Type.Optional(Asked) };
/** Tags between commas. */
const Tagged = Type.Optional(Type.String({ maxLength: 4000, pattern: NO_NUL }));
export const ProjectQuery = query({
  ...ByDomain,
  parent_id: Type.Optional(Asked),
  is_domain: Flag,
  user: Type.Optional(Asked),
  ...{ tags: Tagged, 'tags-any': Tagged, 'not-tags': Tagged, 'not-tags-any': Tagged },
});
export const TreeQuery = object({
  ...{ parents_as_list: Flag, parents_as_ids: Flag, subtree_as_list: Flag, subtree_as_ids: Flag },
});
export const AssignmentQuery = query({
  'user.id': Type.Optional(Asked),
  'group.id': Type.Optional(Asked),
  'role.id': Type.Optional(Asked),
  'scope.project.id': Type.Optional(Asked),
  'scope.domain.id': Type.Optional(Asked),
  'scope.system': Type.Optional(text(10)),
  'scope.OS-INHERIT:inherited_to': Type.Optional(text(20)),
  include_subtree: Flag,
  effective: Flag,
  include_names: Flag,
});

const Param = Type.String({ maxLength: 1024 });
export const IdParams = object({ id: Param });
export const CredentialParams = object({ id: Param, credential_id: Param });
export const TagParams = object({ id: Param, tag: Tag });
export const MemberParams = object({ id: Param, user_id: Param });
/** Of grants, whose paths name a place (or not), a user or a group, and a role (or not). */
export const GrantParams = object({
  ...{ id: Type.Optional(Param), user_id: Type.Optional(Param), group_id: Type.Optional(Param) },
  role_id: Type.Optional(Param),
});
