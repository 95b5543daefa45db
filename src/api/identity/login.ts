// The body of POST /v3/auth/tokens as the request that it makes.
import type { Static } from 'typebox';
import type { Selector } from '../../control/identity/directory.ts';
import type { LoginMethod, LoginRequest } from '../../control/identity/logins.ts';
import { ApiError, badRequest } from '../http/errors.ts';
import type { LoginBody } from './schemas.ts';

type Auth = Static<typeof LoginBody>['auth'];

/** @throws ApiError 400 when the parts contradict each other; 401 for a method that is not offered */
export const loginOf = (auth: Auth): Omit<LoginRequest, 'address'> => ({
  by: methodOf(auth.identity),
  scope: scopeOf(auth.scope),
});

function methodOf({ methods, password, token, application_credential }: Auth['identity']): LoginMethod {
  const [method = 'password'] = methods;
  switch (method) {
    case 'token':
      if (!token) throw missing('token');
      return { kind: 'token', token: token.id };
    case 'application_credential':
      if (!application_credential) throw missing('application_credential');
      return credentialOf(application_credential);
    case 'password':
      if (!password) throw missing('password');
      return { kind: 'password', user: named('user', password.user), password: password.user.password };
    default:
      throw new ApiError(401, 'Attempted to authenticate with an unsupported method.');
  }
}

function credentialOf({
  id,
  name,
  user,
  secret,
}: NonNullable<Auth['identity']['application_credential']>): LoginMethod {
  const kind = 'application_credential';
  if (id !== undefined) return { kind, credential: { id }, secret };
  if (name === undefined || user === undefined) {
    throw badRequest("Expecting to find 'id', or 'name' and 'user', in application_credential.");
  }
  return { kind, credential: { name, user: named('user', user) }, secret };
}

function scopeOf(scope: Auth['scope']): LoginRequest['scope'] {
  if (scope === undefined) return { kind: 'default' };
  if (scope === 'unscoped' || 'unscoped' in scope) return { kind: 'unscoped' };
  if ('system' in scope) return { kind: 'system' };
  if ('domain' in scope) return { kind: 'domain', domain: named('domain', scope.domain) };
  return { kind: 'project', project: named('project', scope.project) };
}

const missing = (property: string): Error => badRequest(`'${property}' is a required property`);

function named(what: string, { id, name, domain }: Selector): Selector {
  if (id === undefined && name === undefined) throw badRequest(`Expecting to find 'id' or 'name' in ${what}.`);
  return { ...(id === undefined ? { name: name ?? '' } : { id }), ...(domain === undefined ? {} : { domain }) };
}
