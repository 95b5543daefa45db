// Who asks, and may they. A token becomes an Actor here; roles are compared with what the route asks for. Whether a
// server, image or port is the actor's own is the handler's question (a foreign one is answered 404, as if absent).
import { hasRole } from '../../model/policy.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { ApiError, forbidden, type Service, unauthorized } from './errors.ts';
import type { Access, Route } from './route.ts';

/** What a valid token says. projectId is null when it is unscoped. */
export interface Principal {
  readonly userId: string;
  readonly projectId: string | null;
  readonly roles: readonly string[];
}

export interface TokenChecker {
  /** Null: unknown, malformed, expired or revoked; which of them is nobody's business. */
  principalOf(token: string): Principal | null;
}

const MAX_TOKEN_LENGTH = 4096;

/** The actor of a request. @throws ApiError 401 */
export function actorOf(tokens: TokenChecker, header: string | string[] | undefined, requestId: string): Actor {
  const token = [header].flat()[0];
  if (token === undefined || token.length > MAX_TOKEN_LENGTH) throw unauthorized();
  const principal = tokens.principalOf(token);
  if (!principal) throw unauthorized();
  return {
    userId: principal.userId,
    projectId: principal.projectId ?? '',
    roles: principal.roles,
    requestId,
  };
}

export const nobody = (requestId: string): Actor => ({ userId: '', projectId: '', roles: [], requestId });

export const accessOf = (route: Pick<Route, 'access' | 'method'>): Access =>
  route.access ?? (route.method === 'GET' || route.method === 'HEAD' ? 'reader' : 'member');

/** @throws ApiError 403 when the actor's roles do not allow the route */
export function authorise(route: Route, actor: Actor): void {
  if (!allowed(accessOf(route), actor)) throw policyRefusal(route.service, policyOf(route));
}

/** @throws ApiError 403 unless the actor is an administrator; for what only they may see or name within a route */
export function requireAdmin(service: Service, actor: Actor, policy: string): void {
  if (!isAdmin(actor)) throw policyRefusal(service, policy);
}

function allowed(access: Access, actor: Actor): boolean {
  switch (access) {
    case 'public':
    case 'anyone':
      return true;
    case 'reader':
    case 'member':
    case 'manager':
    case 'admin':
      return actor.projectId !== '' && hasRole(actor, access);
  }
}

const policyOf = (route: Route): string =>
  route.policy ??
  `${route.method.toLowerCase()}_${route.url
    .split('/')
    .filter((part) => !part.startsWith(':'))
    .at(-1)}`;

function policyRefusal(service: Service, policy: string): ApiError {
  switch (service) {
    case 'compute':
      return forbidden(
        `Policy doesn't allow ${policy.includes(':') ? policy : `os_compute_api:${policy}`} to be performed.`,
      );
    case 'crosscell':
      return forbidden(`Policy doesn't allow crosscell:${policy} to be performed.`);
    case 'identity':
      return forbidden(`You are not authorized to perform the requested action: ${policy}.`);
    case 'network':
      return new ApiError(403, `rule:${policy} is disallowed by policy`, { type: 'PolicyNotAuthorized' });
    case 'image':
      return forbidden(`You are not authorized to complete ${policy} action.`);
  }
}
