// Who asks, and may they. A token becomes an Actor here, and the policy's rule that the route names is asked about it.
// Whether a server, image or port is there for the actor at all is the handler's question (a foreign one is answered
// 404, as if absent).
import type { Platform } from '../../control/platform.ts';
import type { Target } from '../../model/policy/judge.ts';
import { countingRoles, ownTarget, type RuleName } from '../../model/policy/rules.ts';
import type { Actor, Principal } from '../../model/types.ts';
import { ApiError, forbidden, type Service, unauthorized } from './errors.ts';
import type { Route } from './route.ts';

export interface TokenChecker {
  /** Null: unknown, malformed, expired or revoked; which of them is nobody's business. */
  principalOf(token: string): Promise<Principal | null>;
}

const MAX_TOKEN_LENGTH = 4096;

/** The actor of a request to a service. @throws ApiError 401 */
export async function actorOf(
  p: Platform,
  service: Service,
  tokens: TokenChecker,
  header: string | string[] | undefined,
  requestId: string,
): Promise<Actor> {
  const token = [header].flat()[0];
  if (token === undefined || token.length > MAX_TOKEN_LENGTH) throw unauthorized();
  const principal = await tokens.principalOf(token);
  if (!principal) throw unauthorized();
  const { userId, projectId, projectDomainId, domainId, systemScope, roles } = principal;
  const actor: Actor = {
    ...{ userId, projectId: projectId ?? '', requestId },
    roles: countingRoles(service, projectId ?? '', roles),
    ...(projectDomainId === undefined ? {} : { projectDomainId }),
    ...(domainId === undefined ? {} : { domainId }),
    ...(systemScope === undefined ? {} : { systemScope }),
  };
  return { ...actor, admin: p.policies.isAdministrator(service, actor) };
}

export const nobody = (requestId: string): Actor => ({ userId: '', projectId: '', roles: [], requestId });

/**
 * Whether the actor may call the route at all, looked at before anything else of the request is. What the path names a
 * record for is looked at again once that is known (see targets.ts).
 * @throws ApiError 403
 */
export function authorise(p: Platform, route: Route, actor: Actor, params: unknown): void {
  const { policy, service } = route;
  if (policy === 'public' || policy === 'anyone' || route.target === 'handler') return;
  const target = route.target?.(idOf(params), actor) ?? ownTarget(actor);
  const rules = typeof policy === 'string' ? [policy] : Object.values(policy.byBody);
  if (!rules.some((rule) => p.policies.allows(service, rule, actor, target))) {
    throw policyRefusal(service, rules[0] ?? '');
  }
  if (route.behind) requireRule(p, route.behind.service, actor, route.behind.rule, ownTarget(actor));
}

/** The rule that counts for this body; null: none does. */
export function ruleFor(route: Route, body: unknown): RuleName | null {
  const { policy } = route;
  if (policy === 'public' || policy === 'anyone') return null;
  if (typeof policy === 'string') return policy;
  const key = Object.keys(body ?? {}).find((each) => Object.hasOwn(policy.byBody, each));
  return key === undefined ? null : (policy.byBody[key] ?? null);
}

export const idOf = (params: unknown): string => {
  const { id } = (params ?? {}) as { id?: unknown };
  return typeof id === 'string' ? id : '';
};

/** For what a rule of its own guards within a route. Without a target: something of the actor's own. @throws ApiError 403 */
export function requireRule(p: Platform, service: Service, actor: Actor, rule: RuleName, target?: Target): void {
  if (!p.policies.allows(service, rule, actor, target)) throw policyRefusal(service, rule);
}

/** The sentence with which each service says it. */
function policyRefusal(service: Service, rule: string): ApiError {
  switch (service) {
    case 'compute':
    case 'volume':
    case 'crosscell':
      return forbidden(`Policy doesn't allow ${rule} to be performed.`);
    case 'identity':
      return forbidden(`You are not authorized to perform the requested action: ${rule}.`);
    case 'network':
      return new ApiError(403, `rule:${rule} is disallowed by policy`, { type: 'PolicyNotAuthorized' });
    case 'image':
      return forbidden(`You are not authorized to complete ${rule} action.`);
  }
}
