// Identity v3: tokens, and who there is. Users and projects come from configuration, so all but tokens is read-only.
import { type Static, Type } from 'typebox';
import {
  DOMAIN,
  type Identity,
  type LoginRequest,
  type Project,
  type Role,
  type TokenInfo,
  type User,
} from '../../control/identity.ts';
import type { Platform, Settings } from '../../control/platform.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { isoMicrosecondsZ } from '../../model/time.ts';
import type { Actor } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { ApiError, badRequest, notFound, unauthorized } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { catalogOf } from './catalog.ts';
import * as schema from './schemas.ts';

const V3 = '/identity/v3';

export const identityRoutes = (identity: Identity): readonly Route[] => [
  ...tokenRoutes(identity),
  ...directoryRoutes(identity),
];

function tokenRoutes(identity: Identity): Route[] {
  /** The token that a request is about. @throws ApiError 404, or 403 when it is somebody else's */
  const subject = (
    p: Platform,
    rule: RuleName,
    header: string | string[] | undefined,
    actor: Actor,
  ): { token: string; info: TokenInfo } => {
    const token = [header].flat()[0] ?? '';
    const info = token.length > 4096 ? null : identity.tokenInfo(token);
    if (!info) throw notFound('Could not find token.');
    requireRule(p, 'identity', actor, rule, { 'target.token.user_id': info.user.id });
    return { token, info };
  };

  return [
    route({
      method: 'POST',
      url: `${V3}/auth/tokens`,
      service: 'identity',
      summary: 'Issue a token for a password or another token',
      policy: 'public',
      query: Type.Object({ nocatalog: Type.Optional(Type.String()) }, { additionalProperties: false }),
      body: schema.LoginBody,
      answers: { 201: schema.TokenAnswer },
      handle: async ({ p, body, query, request }) => {
        const result = await identity.login({ ...loginOf(body.auth), address: request.ip });
        switch (result.kind) {
          case 'denied':
            throw unauthorized();
          case 'slow-down':
            throw new ApiError(429, 'Too many failed logins. Try again later.', {
              headers: { 'retry-after': String(result.retryAfterSeconds) },
            });
          case 'ok':
            return {
              status: 201,
              headers: { 'x-subject-token': result.token, vary: 'X-Auth-Token' },
              body: renderToken(p, result.info, query.nocatalog === undefined),
            };
        }
      },
    }),
    route({
      method: 'GET',
      url: `${V3}/auth/tokens`,
      service: 'identity',
      summary: 'Validate the token in X-Subject-Token',
      policy: 'identity:validate_token',
      target: 'handler',
      query: Type.Object(
        { nocatalog: Type.Optional(Type.String()), allow_expired: Type.Optional(Type.String()) },
        { additionalProperties: false },
      ),
      answers: { 200: schema.TokenAnswer },
      handle: ({ p, actor, query, request }) => {
        const { token, info } = subject(p, 'identity:validate_token', request.headers['x-subject-token'], actor);
        return {
          status: 200,
          headers: { 'x-subject-token': token },
          body: renderToken(p, info, query.nocatalog === undefined),
        };
      },
    }),
    route({
      method: 'DELETE',
      url: `${V3}/auth/tokens`,
      service: 'identity',
      summary: 'Revoke the token in X-Subject-Token',
      policy: 'identity:revoke_token',
      target: 'handler',
      answers: { 204: null },
      handle: ({ p, actor, request }) => {
        identity.revoke(subject(p, 'identity:revoke_token', request.headers['x-subject-token'], actor).token);
        return { status: 204 };
      },
    }),
    route({
      method: 'GET',
      url: `${V3}/auth/catalog`,
      service: 'identity',
      summary: 'The service catalog',
      policy: 'identity:get_auth_catalog',
      answers: {
        200: Type.Object(
          { catalog: schema.Catalog, links: Type.Object({ self: Type.String() }) },
          { additionalProperties: false },
        ),
      },
      handle: ({ p, actor }) => ({
        status: 200,
        body: {
          catalog: catalogOf(p.settings, actor.projectId),
          links: { self: `${p.settings.publicUrl}${V3}/auth/catalog` },
        },
      }),
    }),
  ];
}

function directoryRoutes(identity: Identity): Route[] {
  return [
    ...listAndShow('projects', 'project', schema.Project, () => identity.projects, renderProject, {
      list: 'identity:list_projects',
      show: 'identity:get_project',
    }),
    ...listAndShow('users', 'user', schema.User, () => identity.users, renderUser, {
      list: 'identity:list_users',
      show: 'identity:get_user',
    }),
    ...listAndShow('roles', 'role', schema.Role, () => identity.roles, renderRole, {
      list: 'identity:list_roles',
      show: 'identity:get_role',
    }),
    ...listAndShow('domains', 'domain', schema.Domain, () => [DOMAIN], renderDomain, {
      list: 'identity:list_domains',
      show: 'identity:get_domain',
    }),
    route({
      method: 'GET',
      url: `${V3}/auth/projects`,
      service: 'identity',
      summary: 'Projects that the token can be scoped to',
      policy: 'identity:get_auth_projects',
      answers: { 200: schema.listOf('projects', schema.Project) },
      handle: ({ p, actor }) => ({
        status: 200,
        body: list(
          p.settings,
          '/auth/projects',
          'projects',
          identity.projectsOf(actor.userId).map((each) => renderProject(p.settings, each)),
        ),
      }),
    }),
    route({
      method: 'GET',
      url: `${V3}/users/:id/projects`,
      service: 'identity',
      summary: 'Projects in which a user has a role',
      policy: 'identity:list_user_projects',
      target: (id) => ({ 'target.user.id': id }),
      params: schema.IdParams,
      query: schema.ListQuery,
      answers: { 200: schema.listOf('projects', schema.Project) },
      handle: ({ p, params, query }) => {
        const projects = identity.projectsOf(params.id).map((each) => renderProject(p.settings, each));
        return {
          status: 200,
          body: list(p.settings, `/users/${params.id}/projects`, 'projects', projects.filter(matching(query))),
        };
      },
    }),
  ];
}

/** The two routes of a resource that administrators list, and others may see one of: their own. */
function listAndShow<T extends { id: string; name: string }>(
  plural: string,
  singular: string,
  item: Parameters<typeof schema.listOf>[1],
  all: () => readonly T[],
  render: (settings: Settings, one: T) => Rendered,
  rules: { readonly list: RuleName; readonly show: RuleName },
): Route[] {
  return [
    route({
      method: 'GET',
      url: `${V3}/${plural}`,
      service: 'identity',
      summary: `List ${plural}`,
      policy: rules.list,
      query: schema.ListQuery,
      answers: { 200: schema.listOf(plural, item) },
      handle: ({ p, query }) => ({
        status: 200,
        body: list(
          p.settings,
          `/${plural}`,
          plural,
          all()
            .map((each) => render(p.settings, each))
            .filter(matching(query)),
        ),
      }),
    }),
    route({
      method: 'GET',
      url: `${V3}/${plural}/:id`,
      service: 'identity',
      summary: `Show one of the ${plural}`,
      policy: rules.show,
      target: (id) => ({ [`target.${singular}.id`]: id }),
      params: schema.IdParams,
      answers: { 200: Type.Object({ [singular]: item }, { additionalProperties: false }) },
      handle: ({ p, params }) => {
        const one = all().find((each) => each.id === params.id);
        if (!one) throw notFound(`Could not find ${singular}: ${params.id.slice(0, 255)}.`);
        return { status: 200, body: { [singular]: render(p.settings, one) } };
      },
    }),
  ];
}

type Rendered = Readonly<Record<string, unknown>>;
type Filters = Readonly<Record<string, string | number | undefined>>;

/** Keystone's filters: equality, and an unknown value matches nothing. */
const matching =
  (query: Filters) =>
  (each: Rendered): boolean =>
    ['name', 'domain_id', 'parent_id'].every((key) => query[key] === undefined || each[key] === query[key]) &&
    (query['enabled'] === undefined || !/^(false|0|no)$/i.test(String(query['enabled'])));

const list = (settings: Settings, path: string, plural: string, items: readonly Rendered[]): object => ({
  [plural]: items,
  links: { self: `${settings.publicUrl}${V3}${path}`, next: null, previous: null },
});

const selfLink = (settings: Settings, path: string): object => ({ self: `${settings.publicUrl}${V3}${path}` });

const renderProject = (settings: Settings, project: Project): Rendered => ({
  id: project.id,
  name: project.name,
  domain_id: DOMAIN.id,
  parent_id: DOMAIN.id,
  description: project.description,
  enabled: true,
  is_domain: false,
  tags: [],
  options: {},
  links: selfLink(settings, `/projects/${project.id}`),
});

const renderUser = (settings: Settings, user: User): Rendered => ({
  id: user.id,
  name: user.name,
  domain_id: DOMAIN.id,
  enabled: true,
  ...(user.email === null ? {} : { email: user.email }),
  ...(user.defaultProjectId === null ? {} : { default_project_id: user.defaultProjectId }),
  password_expires_at: null,
  options: {},
  links: selfLink(settings, `/users/${user.id}`),
});

const renderRole = (settings: Settings, role: Role): Rendered => ({
  id: role.id,
  name: role.name,
  domain_id: null,
  description: null,
  options: {},
  links: selfLink(settings, `/roles/${role.id}`),
});

const renderDomain = (settings: Settings, domain: { id: string; name: string }): Rendered => ({
  id: domain.id,
  name: domain.name,
  description: 'The default domain',
  enabled: true,
  tags: [],
  options: {},
  links: selfLink(settings, `/domains/${domain.id}`),
});

function renderToken(p: Platform, info: TokenInfo, withCatalog: boolean): object {
  return {
    token: {
      methods: info.methods,
      user: { id: info.user.id, name: info.user.name, domain: DOMAIN, password_expires_at: null },
      ...(info.project === null
        ? {}
        : {
            project: { id: info.project.id, name: info.project.name, domain: DOMAIN },
            is_domain: false,
            roles: info.roles.map(({ id, name }) => ({ id, name })),
            ...(withCatalog ? { catalog: catalogOf(p.settings, info.project.id) } : {}),
          }),
      expires_at: isoMicrosecondsZ(info.expiresAt),
      issued_at: isoMicrosecondsZ(info.issuedAt),
      audit_ids: [info.auditId],
    },
  };
}

type Auth = Static<typeof schema.LoginBody>['auth'];
type DomainRef = { readonly id?: string; readonly name?: string } | undefined;

/** @throws ApiError 400 when the parts contradict each other, 401 for scopes that nobody has a role on */
function loginOf(auth: Auth): Omit<LoginRequest, 'address'> {
  const { methods, password, token } = auth.identity;
  const scope = scopeOf(auth.scope);
  if (methods[0] === 'token') {
    if (!token) throw badRequest("'token' is a required property");
    return { by: { kind: 'token', token: token.id }, scope };
  }
  if (!password) throw badRequest("'password' is a required property");
  const { id, name, domain } = password.user;
  if (id === undefined && name === undefined) throw badRequest("Expecting to find 'id' or 'name' in user.");
  if (!isOurs(domain)) throw unauthorized();
  const user = id === undefined ? { name: name ?? '' } : { id };
  return { by: { kind: 'password', user, password: password.user.password }, scope };
}

function scopeOf(scope: Auth['scope']): LoginRequest['scope'] {
  if (scope === undefined) return { kind: 'default' };
  if (scope === 'unscoped' || 'unscoped' in scope) return { kind: 'unscoped' };
  // Nobody has a role on a domain or on the system: there is nothing there to manage.
  if (!('project' in scope)) throw unauthorized();
  const { id, name, domain } = scope.project;
  if (id === undefined && name === undefined) throw badRequest("Expecting to find 'id' or 'name' in project.");
  if (!isOurs(domain)) throw unauthorized();
  return { kind: 'project', project: id === undefined ? { name: name ?? '' } : { id } };
}

const isOurs = (domain: DomainRef): boolean =>
  domain === undefined || (domain.id === undefined ? domain.name === DOMAIN.name : domain.id === DOMAIN.id);
