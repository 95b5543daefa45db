// Users, their passwords and their application credentials.
import type { Static } from 'typebox';
import {
  type ApplicationCredential,
  createCredential,
  deleteCredential,
  findCredential,
  listCredentials,
} from '../../control/identity/application-credentials.ts';
import { type Account, findAccount } from '../../control/identity/directory.ts';
import {
  changePassword,
  createUser,
  deleteUser,
  listUsers,
  type UserChange,
  updateUser,
  userNotFound,
} from '../../control/identity/users.ts';
import type { Identity } from '../../control/identity.ts';
import type { Target } from '../../model/policy/judge.ts';
import { parseTime } from '../../model/time.ts';
import { requireRule } from '../http/auth.ts';
import { clientAddress } from '../http/client-address.ts';
import { badRequest, errorOf, forbidden, notFound, unauthorized } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { domainAsked, domainTarget, homeDomain, sameDomain } from './projects.ts';
import { listed, namesAsked, outcome, renderCredential, renderUser, stateAsked, V3 } from './render.ts';
import * as schema from './schemas.ts';
import { slowDown } from './tokens.ts';

const service = 'identity' as const;
const USERS = `${V3}/users`;
const CREDENTIALS = `${USERS}/:id/application_credentials`;

export const userTarget = (id: string, found: Account | null): Target => ({
  'target.user.id': id,
  ...(found ? { 'target.user.domain_id': found.user.domainId } : {}),
});

export const userRoutes = (identity: Identity): readonly Route[] => {
  const { directory } = identity;
  return [
    route({
      ...{ method: 'GET', url: USERS, service, summary: 'List users' },
      policy: 'identity:list_users',
      target: 'handler',
      query: schema.query(schema.ByDomain),
      answers: { 200: schema.listOf('users', schema.User) },
      handle: async ({ p, actor, query }) => {
        const domain = domainAsked(actor, query.domain_id);
        requireRule(p, service, actor, 'identity:list_users', domainTarget(domain));
        const users = await listUsers(directory, { ...domain, ...stateAsked(query), ...namesAsked(query) });
        const shown = users.map((each) => renderUser(p.settings, each));
        return { status: 200, body: listed(p.settings, '/users', 'users', shown, query.limit) };
      },
    }),
    route({
      ...{ method: 'POST', url: USERS, service, summary: 'Create a user' },
      policy: 'identity:create_user',
      body: schema.CreateUser,
      answers: { 201: schema.one('user', schema.User) },
      handle: async ({ p, actor, body: { user: wish } }) => {
        const user = await createUser(directory, {
          ...{ name: wish.name, domainId: homeDomain(actor, wish.domain_id), enabled: wish.enabled ?? true },
          ...{ description: wish.description ?? null, email: wish.email ?? null, options: wish.options ?? {} },
          ...{ defaultProjectId: wish.default_project_id ?? null, projectId: wish.project_id ?? null },
          password: wish.password ?? null,
        });
        return { status: 201, body: { user: renderUser(p.settings, outcome(user)) } };
      },
    }),
    route({
      ...{ method: 'GET', url: `${USERS}/:id`, service, summary: 'Show a user' },
      policy: 'identity:get_user',
      target: 'handler',
      params: schema.IdParams,
      answers: { 200: schema.one('user', schema.User) },
      handle: async ({ p, actor, params }) => {
        const found = await findAccount(directory, params.id);
        requireRule(p, service, actor, 'identity:get_user', userTarget(params.id, found));
        if (!found) throw errorOf(userNotFound(params.id));
        return { status: 200, body: { user: renderUser(p.settings, found.user) } };
      },
    }),
    route({
      ...{ method: 'PATCH', url: `${USERS}/:id`, service, summary: 'Change a user' },
      policy: 'identity:update_user',
      target: (id) => userTarget(id, null),
      params: schema.IdParams,
      body: schema.UpdateUser,
      answers: { 200: schema.one('user', schema.User) },
      handle: async ({ p, params, body: { user: wish } }) => {
        const found = await findAccount(directory, params.id);
        if (!found) throw errorOf(userNotFound(params.id));
        if (wish.id !== undefined && wish.id !== found.user.id) throw badRequest('Cannot change user ID');
        sameDomain(wish.domain_id, found.user.domainId);
        const changed = await updateUser(directory, found.user.id, changeOf(wish));
        return { status: 200, body: { user: renderUser(p.settings, outcome(changed)) } };
      },
    }),
    route({
      ...{ method: 'DELETE', url: `${USERS}/:id`, service, summary: 'Delete a user' },
      policy: 'identity:delete_user',
      target: (id) => userTarget(id, null),
      params: schema.IdParams,
      answers: { 204: null },
      handle: async ({ params }) => {
        const found = await findAccount(directory, params.id);
        if (!found) throw errorOf(userNotFound(params.id));
        outcome(await deleteUser(directory, found.user.id));
        return { status: 204 };
      },
    }),
    route({
      ...{ method: 'POST', url: `${USERS}/:id/password`, service },
      summary: 'Change the password of a user who knows the old one',
      policy: 'public',
      params: schema.IdParams,
      body: schema.ChangePassword,
      answers: { 204: null },
      handle: async ({ p, params, body: { user: wish }, request }) => {
        const found = await findAccount(directory, params.id);
        const origin = { who: params.id, address: clientAddress(p, request) };
        const verdict = await identity.isPasswordOf(found, wish.original_password, origin);
        if (typeof verdict !== 'string') throw slowDown(verdict.retryAfterSeconds);
        if (verdict === 'wrong' || !found?.user.enabled || !found.domain.enabled) throw unauthorized();
        outcome(await changePassword(directory, found.user, wish.password));
        return { status: 204 };
      },
    }),
  ];
};

type Wish = Static<typeof schema.UpdateUser>['user'];

const changeOf = ({ name, description, email, project_id, enabled, options, password, ...wish }: Wish): UserChange => ({
  ...(name === undefined ? {} : { name }),
  ...(description === undefined ? {} : { description }),
  ...(email === undefined ? {} : { email }),
  ...(project_id === undefined ? {} : { projectId: project_id }),
  ...(wish.default_project_id === undefined ? {} : { defaultProjectId: wish.default_project_id }),
  ...(enabled === undefined ? {} : { enabled }),
  ...(options === undefined ? {} : { options }),
  ...(password === undefined ? {} : { password }),
});

export const credentialRoutes = (identity: Identity): readonly Route[] => {
  const { directory } = identity;

  /** @throws ApiError 404 */
  async function found(userId: string, id: string): Promise<ApplicationCredential> {
    const credential = await findCredential(directory, id);
    if (credential?.userId !== userId) {
      throw notFound(`Could not find Application Credential: ${id.slice(0, 255)}.`);
    }
    return credential;
  }

  /** The credential that the token is of, if any. Those of restricted ones make and delete none. @throws ApiError 403 */
  async function unrestricted(header: string | string[] | undefined): Promise<ApplicationCredential | null> {
    const credential = (await identity.tokenInfo([header].flat()[0] ?? ''))?.credential ?? null;
    if (credential?.unrestricted === false) {
      throw forbidden('You are not authorized to perform the requested action: restricted application credential.');
    }
    return credential;
  }

  /** The rules' `owner` is the user in the path. */
  const target = (id: string): Target => ({ user_id: id, 'target.user.id': id });

  return [
    route({
      ...{ method: 'GET', url: CREDENTIALS, service, summary: "List a user's application credentials" },
      policy: 'identity:list_application_credentials',
      target,
      params: schema.IdParams,
      query: schema.query(schema.ByName),
      answers: { 200: schema.listOf('application_credentials', schema.ApplicationCredential) },
      handle: async ({ p, params, query }) => {
        const userId = (await findAccount(directory, params.id))?.user.id;
        const all = userId === undefined ? [] : await listCredentials(directory, userId, namesAsked(query));
        const shown = await Promise.all(all.map((each) => renderCredential(p.settings, directory, each)));
        const path = `/users/${params.id}/application_credentials`;
        return { status: 200, body: listed(p.settings, path, 'application_credentials', shown, query.limit) };
      },
    }),
    route({
      ...{ method: 'POST', url: CREDENTIALS, service },
      summary: "Create an application credential for the token's user in its project; the secret is shown once",
      policy: 'identity:create_application_credential',
      target,
      params: schema.IdParams,
      body: schema.CreateCredential,
      answers: { 201: schema.one('application_credential', schema.NewApplicationCredential) },
      handle: async ({ p, actor, params, body: { application_credential: wish }, request }) => {
        const through = await unrestricted(request.headers['x-auth-token']);
        if (actor.projectId === '') throw badRequest('An application credential is made with a token of its project.');
        const made = await createCredential(directory, {
          ...{ userId: params.id, projectId: actor.projectId, name: wish.name, description: wish.description ?? null },
          ...{ secret: wish.secret ?? null, unrestricted: wish.unrestricted ?? false },
          ...expiryOf(wish.expires_at ?? null),
          roles: wish.roles === undefined || wish.roles.length === 0 ? null : wish.roles,
          through,
        });
        const { credential, secret } = outcome(made);
        const shown = await renderCredential(p.settings, directory, credential);
        return { status: 201, body: { application_credential: { ...shown, secret } } };
      },
    }),
    route({
      ...{ method: 'GET', url: `${CREDENTIALS}/:credential_id`, service, summary: 'Show an application credential' },
      policy: 'identity:get_application_credential',
      target,
      params: schema.CredentialParams,
      answers: { 200: schema.one('application_credential', schema.ApplicationCredential) },
      handle: async ({ p, params }) => {
        const credential = await found(params.id, params.credential_id);
        const shown = await renderCredential(p.settings, directory, credential);
        return { status: 200, body: { application_credential: shown } };
      },
    }),
    route({
      ...{ method: 'DELETE', url: `${CREDENTIALS}/:credential_id`, service },
      summary: 'Delete an application credential; its tokens end',
      policy: 'identity:delete_application_credential',
      target,
      params: schema.CredentialParams,
      answers: { 204: null },
      handle: async ({ params, request }) => {
        await unrestricted(request.headers['x-auth-token']);
        await deleteCredential(directory, (await found(params.id, params.credential_id)).id);
        return { status: 204 };
      },
    }),
  ];
};

/** @throws ApiError 400 */
function expiryOf(text: string | null): { expiresAt: number | null; expiresMicros: number } {
  if (text === null) return { expiresAt: null, expiresMicros: 0 };
  const time = parseTime(text);
  if (time === null) throw badRequest(`Invalid input for field 'expires_at': '${text}' is not a time.`);
  const [, micros = ''] = /\.\d{3}(\d{1,3})/.exec(text) ?? [];
  return { expiresAt: time, expiresMicros: Number(micros.padEnd(3, '0')) };
}
