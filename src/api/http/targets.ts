// The record that a path names, as the target of the route's rule.
//
// Theory of operation. Rules may say something about whose a record is (`user_id:%(user_id)s`) or how it is shared
// (`'public':%(visibility)s`). So once the path is known to be well-formed, the record is looked up by the beginning of
// its route's path, and the route's rule is asked about it: a new route under one of these paths needs nothing more. A
// record that is not there, or that the actor does not see, is left to the handler, which answers 404 for both.
import { showNamespace } from '../../control/images/metadefs.ts';
import { findImage, maySee } from '../../control/images.ts';
import { findFloatingIp } from '../../control/network/floating-ips.ts';
import { findNetwork } from '../../control/network/networks.ts';
import { findPort } from '../../control/network/ports.ts';
import { findRouter } from '../../control/network/routers.ts';
import { findRule } from '../../control/network/security-group-rules.ts';
import { findGroup } from '../../control/network/security-groups.ts';
import { findSubnet } from '../../control/network/subnets.ts';
import type { Platform } from '../../control/platform.ts';
import { volumeFor } from '../../control/volumes/records.ts';
import { snapshotFor } from '../../control/volumes/snapshots.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Target } from '../../model/policy/judge.ts';
import { ownTarget } from '../../model/policy/rules.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { idOf, requireRule, ruleFor } from './auth.ts';
import type { Behind, Route } from './route.ts';

type Find = (p: Platform, actor: Actor, id: string) => Promise<Target | null>;

const ofProject = (projectId: string): Target => ({ project_id: projectId, tenant_id: projectId });

/** Null: it is not there, or not for this actor. */
const RECORDS: readonly { readonly path: string; readonly find: Find }[] = [
  {
    path: '/compute/v2.1/servers/:id',
    find: async (p, actor, id) => {
      const mapping = await p.stores.global
        .selectFrom('server_mappings')
        .select(['project_id', 'user_id'])
        .where('server_id', '=', id)
        .executeTakeFirst();
      if (!mapping || (mapping.project_id !== actor.projectId && !isAdmin(actor))) return null;
      return { ...ofProject(mapping.project_id), user_id: mapping.user_id };
    },
  },
  {
    path: '/image/v2/images/:id',
    find: async (p, actor, id) => {
      const image = await findImage(p, id);
      if (!image || !maySee(actor, image)) return null;
      const member = Object.hasOwn(image.members, actor.projectId) ? { member_id: actor.projectId } : {};
      return { ...ofProject(image.owner), owner: image.owner, visibility: image.visibility, ...member };
    },
  },
  {
    path: '/image/v2/metadefs/namespaces/:id',
    find: async (p, actor, id) => {
      const found = await showNamespace(p, actor, id);
      if (found.kind === 'refused') return null;
      const { owner, visibility } = found.value;
      return { ...ofProject(owner), owner, visibility };
    },
  },
  {
    path: '/network/v2.0/networks/:id',
    find: async (p, actor, id) => {
      const network = await findNetwork(p.stores.global, actor, id);
      const said = (value: boolean | undefined) => (value === true ? 'True' : 'False');
      const { shared, external } = network ?? {};
      return network && { ...ofProject(network.projectId), shared: said(shared), 'router:external': said(external) };
    },
  },
  {
    path: '/network/v2.0/subnets/:id',
    find: async (p, actor, id) => {
      const subnet = await findSubnet(p.stores.global, actor, id);
      const network = subnet && (await findNetwork(p.stores.global, actor, subnet.networkId));
      if (!subnet || !network) return null;
      const shared = network.shared ? 'True' : 'False';
      return { ...ofProject(subnet.projectId), shared, 'network:tenant_id': network.projectId };
    },
  },
  {
    path: '/network/v2.0/ports/:id',
    find: async (p, actor, id) => {
      const port = await findPort(p.stores.global, actor, id);
      return port && ofProject(port.projectId);
    },
  },
  {
    path: '/network/v2.0/routers/:id',
    find: async (p, actor, id) => {
      const router = await findRouter(p.stores.global, actor, id);
      return router && ofProject(router.projectId);
    },
  },
  {
    path: '/network/v2.0/floatingips/:id',
    find: async (p, actor, id) => {
      const floating = await findFloatingIp(p.stores.global, actor, id);
      return floating && ofProject(floating.projectId);
    },
  },
  {
    path: '/network/v2.0/security-groups/:id',
    find: async (p, actor, id) => {
      const group = await findGroup(p.stores.global, actor, id);
      return group && ofProject(group.projectId);
    },
  },
  {
    path: '/network/v2.0/security-group-rules/:id',
    find: async (p, actor, id) => {
      const rule = await findRule(p.stores.global, actor, id);
      return rule && { ...ofProject(rule.projectId), 'security_group:tenant_id': rule.projectId };
    },
  },
  {
    path: '/volume/v3/volumes/:id',
    find: async (p, actor, id) => {
      const volume = await volumeFor(p.stores.global, actor, id);
      return 'code' in volume ? null : { ...ofProject(volume.projectId), user_id: volume.userId };
    },
  },
  {
    path: '/volume/v3/snapshots/:id',
    find: async (p, actor, id) => {
      const snapshot = await snapshotFor(p.stores.global, actor, id);
      return 'code' in snapshot ? null : { ...ofProject(snapshot.projectId), user_id: snapshot.userId };
    },
  },
];

/** Asks the route's rule about what the path names. @throws ApiError 403 */
export async function authoriseTarget(
  p: Platform,
  route: Route,
  actor: Actor,
  params: unknown,
  body: unknown,
): Promise<void> {
  const rule = ruleFor(route, body);
  if (rule === null || route.target === 'handler') return;
  if (typeof route.policy !== 'string') {
    requireRule(p, route.service, actor, rule, route.target?.(idOf(params), actor) ?? ownTarget(actor));
  }
  const id = idOf(params);
  const kind = isUuid(id) ? RECORDS.find(({ path }) => `${route.url}/`.startsWith(`${path}/`)) : undefined;
  const record = await kind?.find(p, actor, id);
  if (record) requireRule(p, route.service, actor, rule, record);
  if (route.behind?.record !== undefined) await requireBehind(p, actor, route.behind, id);
}

/**
 * Asks a service's rule about a record of it, for what another service does there in the user's name.
 * @throws ApiError 403
 */
export async function requireBehind(
  p: Platform,
  actor: Actor,
  { service, rule, record }: Behind,
  id: string,
): Promise<void> {
  requireRule(p, service, actor, rule, ownTarget(actor));
  const kind = isUuid(id) ? RECORDS.find(({ path }) => path === record) : undefined;
  const target = await kind?.find(p, actor, id);
  if (target) requireRule(p, service, actor, rule, target);
}
