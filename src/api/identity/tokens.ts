// Tokens: issue, validate, revoke; and what a token can be exchanged for.
import { Type } from 'typebox';
import { domainsOf } from '../../control/identity/assignments.ts';
import { type Domain, findDomain, rolesIn } from '../../control/identity/directory.ts';
import { listProjects } from '../../control/identity/projects.ts';
import type { Identity, TokenInfo } from '../../control/identity.ts';
import type { Platform } from '../../control/platform.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { isoMicrosecondsZ } from '../../model/time.ts';
import type { Actor } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { clientAddress } from '../http/client-address.ts';
import { ApiError, notFound, unauthorized } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { catalogOf } from './catalog.ts';
import { loginOf } from './login.ts';
import { isSet, listed, renderDomain, renderProject, selfLink, V3 } from './render.ts';
import * as schema from './schemas.ts';

const service = 'identity' as const;
const TOKENS = `${V3}/auth/tokens`;
const MAX_TOKEN_LENGTH = 4096;

export const tokenRoutes = (identity: Identity): readonly Route[] => [...issuing(identity), ...exchanging(identity)];

function issuing(identity: Identity): Route[] {
  /** The token that a request is about. @throws ApiError 404, or 403 when it is somebody else's */
  async function subject(
    p: Platform,
    rule: RuleName,
    header: string | string[] | undefined,
    actor: Actor,
    allowExpired = false,
  ): Promise<{ token: string; info: TokenInfo }> {
    const token = [header].flat()[0] ?? '';
    const info = token.length > MAX_TOKEN_LENGTH ? null : await identity.tokenInfo(token, allowExpired);
    if (!info) throw notFound('Could not find token.');
    requireRule(p, service, actor, rule, { 'target.token.user_id': info.user.id });
    return { token, info };
  }

  return [
    route({
      ...{ method: 'POST', url: TOKENS, service },
      summary: 'Issue a token for a password, another token or an application credential',
      policy: 'public',
      query: schema.object({ nocatalog: Type.Optional(Type.String()) }),
      body: schema.LoginBody,
      answers: { 201: schema.TokenAnswer },
      tells: ['x-subject-token'],
      handle: async ({ p, body, query, request }) => {
        const result = await identity.login({ ...loginOf(body.auth), address: clientAddress(p, request) });
        switch (result.kind) {
          case 'denied':
            throw unauthorized();
          case 'slow-down':
            throw slowDown(result.retryAfterSeconds);
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
      ...{ method: 'GET', url: TOKENS, service, summary: 'Validate the token in X-Subject-Token' },
      policy: 'identity:validate_token',
      target: 'handler',
      query: schema.object({ nocatalog: Type.Optional(Type.String()), allow_expired: Type.Optional(Type.String()) }),
      answers: { 200: schema.TokenAnswer },
      asks: ['x-subject-token'],
      tells: ['x-subject-token'],
      handle: async ({ p, actor, query, request }) => {
        const header = request.headers['x-subject-token'];
        const { token, info } = await subject(p, 'identity:validate_token', header, actor, isSet(query.allow_expired));
        return {
          status: 200,
          headers: { 'x-subject-token': token, vary: 'X-Auth-Token' },
          body: renderToken(p, info, query.nocatalog === undefined),
        };
      },
    }),
    route({
      ...{ method: 'DELETE', url: TOKENS, service, summary: 'Revoke the token in X-Subject-Token' },
      policy: 'identity:revoke_token',
      target: 'handler',
      answers: { 204: null },
      asks: ['x-subject-token'],
      handle: async ({ p, actor, request }) => {
        const { token } = await subject(p, 'identity:revoke_token', request.headers['x-subject-token'], actor);
        await identity.revoke(token);
        return { status: 204 };
      },
    }),
  ];
}

export const slowDown = (retryAfterSeconds: number): ApiError =>
  new ApiError(429, 'Too many failed logins. Try again later.', {
    headers: { 'retry-after': String(retryAfterSeconds) },
  });

function exchanging({ directory }: Identity): Route[] {
  return [
    route({
      ...{ method: 'GET', url: `${V3}/auth/catalog`, service, summary: 'The service catalog' },
      policy: 'identity:get_auth_catalog',
      answers: { 200: schema.object({ catalog: schema.Catalog, links: schema.object({ self: Type.String() }) }) },
      handle: ({ p, actor }) => {
        if (actor.projectId === '')
          throw new ApiError(403, 'A project-scoped token is required to produce a service catalog.');
        const body = { catalog: catalogOf(p.settings, actor.projectId), links: selfLink(p.settings, '/auth/catalog') };
        return { status: 200, body };
      },
    }),
    route({
      ...{ method: 'GET', url: `${V3}/auth/projects`, service },
      summary: 'Projects that the token can be scoped to',
      policy: 'identity:get_auth_projects',
      answers: { 200: schema.listOf('projects', schema.Project) },
      handle: async ({ p, actor }) => {
        const projects = await listProjects(directory, { userId: actor.userId, enabled: true });
        const shown = projects.map((each) => renderProject(p.settings, each));
        return { status: 200, body: listed(p.settings, '/auth/projects', 'projects', shown) };
      },
    }),
    route({
      ...{ method: 'GET', url: `${V3}/auth/domains`, service },
      summary: 'Domains that the token can be scoped to',
      policy: 'identity:get_auth_domains',
      answers: { 200: schema.listOf('domains', schema.Domain) },
      handle: async ({ p, actor }) => {
        const ids = await domainsOf(directory, actor.userId);
        const domains = (await Promise.all(ids.map((id) => findDomain(directory, id)))).filter(
          (each): each is Domain => each?.enabled === true,
        );
        const shown = domains.map((each) => renderDomain(p.settings, each));
        return { status: 200, body: listed(p.settings, '/auth/domains', 'domains', shown) };
      },
    }),
    route({
      ...{ method: 'GET', url: `${V3}/auth/system`, service },
      summary: 'Whether the token can be scoped to the system',
      policy: 'identity:get_auth_system',
      answers: { 200: schema.listOf('system', schema.object({ all: Type.Literal(true) })) },
      handle: async ({ p, actor }) => {
        const roles = await rolesIn(directory, actor.userId, { kind: 'system' });
        return {
          status: 200,
          body: listed(p.settings, '/auth/system', 'system', roles.length > 0 ? [{ all: true }] : []),
        };
      },
    }),
  ];
}

function renderToken(p: Platform, info: TokenInfo, withCatalog: boolean): object {
  const { scope, user, userDomain, roles, credential } = info;
  const projectId = scope.kind === 'project' ? scope.project.id : '';
  const scoped = {
    roles: roles.map(({ id, name }) => ({ id, name })),
    ...(withCatalog ? { catalog: catalogOf(p.settings, projectId) } : {}),
  };
  return {
    token: {
      methods: info.methods,
      user: { id: user.id, name: user.name, domain: brief(userDomain), password_expires_at: null },
      ...(scope.kind === 'unscoped' ? {} : { ...scopeShown(scope), ...scoped }),
      ...(credential
        ? { application_credential: { id: credential.id, name: credential.name, restricted: !credential.unrestricted } }
        : {}),
      expires_at: isoMicrosecondsZ(info.expiresAt),
      issued_at: isoMicrosecondsZ(info.issuedAt),
      audit_ids: info.auditIds,
    },
  };
}

function scopeShown(scope: TokenInfo['scope']): object {
  switch (scope.kind) {
    case 'project':
      return {
        project: { id: scope.project.id, name: scope.project.name, domain: brief(scope.domain) },
        is_domain: false,
      };
    case 'domain':
      return { domain: brief(scope.domain) };
    case 'system':
      return { system: { all: true } };
    case 'unscoped':
      return {};
  }
}

const brief = ({ id, name }: Domain): object => ({ id, name });
