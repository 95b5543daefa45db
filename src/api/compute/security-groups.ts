// os-security-groups and os-security-group-rules: the network service in Nova's old words, until 2.35; and a server's
// security groups. Only rules that let something in are shown, as in Nova. They call the use cases that the network API
// calls, for the caller's own project, under rules of compute and of the network service.
import { isIPv6 } from 'node:net';
import { type Static, Type } from 'typebox';
import type { NetworkResult } from '../../control/network/results.ts';
import { createRules, deleteRule, findRule } from '../../control/network/security-group-rules.ts';
import {
  createGroup,
  defaultGroupOf,
  deleteGroup,
  findGroup,
  type GroupRecord,
  listGroups,
  updateGroup,
} from '../../control/network/security-groups.ts';
import { networkService, type ShownGroup, type ShownRule } from '../../control/network/service.ts';
import type { Db } from '../../control/network/standard.ts';
import { isUuid } from '../../lib/ids.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { ApiError, badRequest, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, nullable, object, serverFor, text } from './common.ts';
import { type ActionCall, type Actions, accepted, action } from './server-action.ts';

const GROUPS = `${BASE}/os-security-groups`;
const RULES = `${BASE}/os-security-group-rules`;
const shared = { service: 'compute', until: 35 } as const;

const behind = (rule: RuleName) => ({ service: 'network', rule }) as const;
const behindOne = (rule: RuleName) => ({ ...behind(rule), record: '/network/v2.0/security-groups/:id' }) as const;

const Rule = object({
  id: text(),
  parent_group_id: text(),
  ip_protocol: nullable(text()),
  from_port: nullable(Type.Integer()),
  to_port: nullable(Type.Integer()),
  group: Type.Union([object({ name: text(), tenant_id: text() }), object({})]),
  ip_range: Type.Union([object({ cidr: text() }), object({})]),
});
const Group = object({ id: text(), name: text(), description: text(), tenant_id: text(), rules: Type.Array(Rule) });
const GroupBody = object({ security_group: object({ name: text(), description: text() }) });
const anyValue = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Number(), Type.Null()]));
const RuleBody = object({
  security_group_rule: object({
    parent_group_id: Type.String({ format: 'uuid' }),
    group_id: Type.Optional(nullable(Type.String({ format: 'uuid' }))),
    ...{ from_port: anyValue, to_port: anyValue, ip_protocol: anyValue, cidr: anyValue },
  }),
});
type RuleWish = Static<typeof RuleBody>['security_group_rule'];

/** More groups than are shown at once. */
const MANY = 1000;

/** What the network service refused, as Nova passes it on: its 409s are quotas, or 400. */
function valueOrThrow<T>(result: NetworkResult<T>): T {
  if (result.kind === 'ok') return result.value;
  const { code, type, message } = result.refusal;
  if (code !== 409) throw new ApiError(code, message);
  throw new ApiError(type === 'OverQuota' || type === 'SecurityGroupDefaultAlreadyExists' ? 403 : 400, message);
}

async function groupOf(db: Db, actor: Actor, id: string): Promise<GroupRecord> {
  if (!isUuid(id)) throw badRequest('Security group id should be uuid');
  const group = await findGroup(db, actor, id);
  if (!group) throw notFound(`Security group ${id} does not exist`);
  return group;
}

function portsIn({ protocol, portMin, portMax }: ShownRule): { from_port: number | null; to_port: number | null } {
  if (protocol === null || portMin !== null || portMax !== null) return { from_port: portMin, to_port: portMax };
  return protocol === 'tcp' || protocol === 'udp' ? { from_port: 1, to_port: 65_535 } : { from_port: -1, to_port: -1 };
}

/** Null: the group that it names is not there any more. */
async function renderRule(db: Db, actor: Actor, rule: ShownRule, known: readonly ShownGroup[]) {
  const source =
    rule.remoteGroupId === null
      ? null
      : (known.find((each) => each.id === rule.remoteGroupId) ?? (await findGroup(db, actor, rule.remoteGroupId)));
  if (rule.remoteGroupId !== null && !source) return null;
  return {
    ...{ id: rule.id, parent_group_id: rule.groupId, ip_protocol: rule.protocol, ...portsIn(rule) },
    group: source ? { name: source.name, tenant_id: source.projectId } : {},
    ip_range: source ? {} : { cidr: rule.remotePrefix ?? '0.0.0.0/0' },
  };
}

/** @param named groups that rules name, as far as they are known */
async function renderGroups(
  db: Db,
  actor: Actor,
  groups: readonly ShownGroup[],
  named: readonly ShownGroup[] = [],
): Promise<Static<typeof Group>[]> {
  const rendered: Static<typeof Group>[] = [];
  for (const group of groups) {
    const rules: Static<typeof Rule>[] = [];
    for (const rule of group.rules.filter((each) => each.direction === 'ingress')) {
      const shown = await renderRule(db, actor, rule, [...groups, ...named]);
      if (shown) rules.push(shown);
    }
    const { id, name, description, projectId } = group;
    rendered.push({ id, name, description, tenant_id: projectId, rules });
  }
  const key = (group: Static<typeof Group>) => `${group.tenant_id}\n${group.name}`;
  return rendered.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

async function renderOne(db: Db, actor: Actor, group: GroupRecord) {
  const [security_group] = await renderGroups(db, actor, [group]);
  return { security_group };
}

/** Nova's own checks of a rule, before the network service sees it (security_group_api.py: _new_ingress_rule). */
function wantedRule(wish: RuleWish) {
  const protocol = wish.ip_protocol == null ? null : String(wish.ip_protocol);
  const upper = protocol?.toUpperCase() ?? '';
  const fromGroup = wish.group_id != null;
  const cidr = fromGroup ? null : cidrOf(wish.cidr);
  let [from, to] = [wish.from_port ?? null, wish.to_port ?? null];
  if (fromGroup && from === null && to === null) {
    if (upper === 'ICMP') [from, to] = [-1, -1];
    else if (upper === 'TCP' || upper === 'UDP') [from, to] = [1, 65_535];
  }
  const base = { groupId: wish.parent_group_id, direction: 'ingress' as const, remoteGroupId: wish.group_id ?? null };
  if (!protocol || from === null || to === null) {
    if (!fromGroup) throw badRequest('Not enough parameters to build a valid rule.');
    return { ...base, ethertype: 'IPv4', protocol: null, portMin: null, portMax: null, remotePrefix: null };
  }
  const [portMin, portMax] = [wholeNumber(from, upper), wholeNumber(to, upper)];
  checkRange(protocol, upper, portMin, portMax);
  const ethertype = cidr !== null && isIPv6(cidr.split('/', 1)[0] ?? '') ? 'IPv6' : 'IPv4';
  const given = (port: number) => (port === -1 ? null : port);
  return { ...base, ethertype, protocol, portMin: given(portMin), portMax: given(portMax), remotePrefix: cidr };
}

function cidrOf(given: RuleWish['cidr']): string {
  if (given === undefined || given === null || given === '') return '0.0.0.0/0';
  const cidr = String(given);
  const [address = '', length, ...more] = cidr.split('/');
  const ipv4 = /^(\d{1,3}\.){3}\d{1,3}$/.test(address) && address.split('.').every((part) => Number(part) <= 255);
  const fits = length !== undefined && /^\d{1,3}$/.test(length) && Number(length) <= (ipv4 ? 32 : 128);
  if (more.length > 0 || !fits || !(ipv4 || isIPv6(address))) throw badRequest(`Invalid cidr ${cidr}.`);
  if (Number(length) === 0 && address !== '0.0.0.0' && address !== '::')
    throw badRequest(`Bad prefix for network in cidr ${cidr}`);
  return cidr;
}

function wholeNumber(given: string | number, protocol: string): number {
  const number = Number(given);
  if (given !== '' && Number.isInteger(number)) return number;
  throw badRequest(
    protocol === 'ICMP'
      ? 'Invalid input received: Type and Code must be integers for ICMP protocol type'
      : 'Invalid input received: To and From ports must be integers',
  );
}

function checkRange(protocol: string, upper: string, from: number, to: number): void {
  const wrong = (reason: string) => badRequest(`Invalid port range ${from}:${to}. ${reason}`);
  if (!['TCP', 'UDP', 'ICMP'].includes(upper)) throw badRequest(`Invalid IP protocol ${protocol}.`);
  if (upper === 'ICMP') {
    if (from < -1 || from > 255 || to < -1 || to > 255) throw wrong('For ICMP, the type:code must be valid');
    return;
  }
  if (from > to) throw wrong('Former value cannot be greater than the later');
  if (from < 1 || to > 65_535) throw wrong(`Valid ${upper} ports should be between 1-65535`);
}

export const securityGroupRoutes: readonly Route[] = [
  route({
    ...{ ...shared, method: 'GET', url: GROUPS, summary: "List the project's security groups" },
    policy: 'os_compute_api:os-security-groups:get',
    behind: behind('get_security_group'),
    query: Type.Object(
      {
        limit: Type.Optional(Type.Integer({ minimum: 0 })),
        offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
        all_tenants: Type.Optional(text()),
      },
      { additionalProperties: true },
    ),
    answers: { 200: object({ security_groups: Type.Array(Group) }) },
    handle: async ({ p, actor, query }) => {
      const { global } = p.stores;
      if (actor.projectId !== '') await defaultGroupOf(global, actor.projectId, p.clock.now());
      const all = isAdmin(actor) && query.all_tenants !== undefined;
      const where = all ? {} : { project_id: [actor.projectId] };
      const found = await listGroups(global, actor, { where, limit: MANY });
      const offset = query.offset ?? 0;
      const shown = found.slice(offset, offset + (query.limit || MANY));
      return { status: 200, body: { security_groups: await renderGroups(global, actor, shown) } };
    },
  }),
  route({
    ...{ ...shared, method: 'GET', url: `${GROUPS}/:id`, summary: 'Show a security group' },
    policy: 'os_compute_api:os-security-groups:show',
    behind: behindOne('get_security_group'),
    params: IdParams,
    answers: { 200: object({ security_group: Group }) },
    handle: async ({ p, actor, params }) => {
      const { global } = p.stores;
      return { status: 200, body: await renderOne(global, actor, await groupOf(global, actor, params.id)) };
    },
  }),
  route({
    ...{ ...shared, method: 'POST', url: GROUPS, summary: 'Create a security group' },
    policy: 'os_compute_api:os-security-groups:create',
    behind: behind('create_security_group'),
    body: GroupBody,
    answers: { 200: object({ security_group: Group }) },
    handle: async ({ p, actor, body }) => {
      const { global } = p.stores;
      const request = { ...body.security_group, now: p.clock.now() };
      const group = valueOrThrow(await createGroup(global, actor, request));
      return { status: 200, body: await renderOne(global, actor, group) };
    },
  }),
  route({
    ...{ ...shared, method: 'PUT', url: `${GROUPS}/:id`, summary: 'Rename or describe a security group' },
    policy: 'os_compute_api:os-security-groups:update',
    behind: behindOne('update_security_group'),
    params: IdParams,
    body: GroupBody,
    answers: { 200: object({ security_group: Group }) },
    handle: async ({ p, actor, params, body }) => {
      const { global } = p.stores;
      await groupOf(global, actor, params.id);
      const change = { ...body.security_group, now: p.clock.now() };
      const group = valueOrThrow(await updateGroup(global, actor, params.id, change));
      return { status: 200, body: await renderOne(global, actor, group) };
    },
  }),
  route({
    ...{ ...shared, method: 'DELETE', url: `${GROUPS}/:id`, summary: 'Delete a security group' },
    policy: 'os_compute_api:os-security-groups:delete',
    behind: behindOne('delete_security_group'),
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      await groupOf(p.stores.global, actor, params.id);
      valueOrThrow(await deleteGroup(p.stores.global, actor, params.id));
      return { status: 202 };
    },
  }),
  route({
    ...{ ...shared, method: 'POST', url: RULES, summary: 'Let something in to a security group' },
    policy: 'os_compute_api:os-security-groups:rule:create',
    behind: behind('create_security_group_rule'),
    body: RuleBody,
    answers: { 200: object({ security_group_rule: Rule }) },
    handle: async ({ p, actor, body }) => {
      const { global } = p.stores;
      const wish = body.security_group_rule;
      const group = await groupOf(global, actor, wish.parent_group_id);
      const source = wish.group_id == null ? [] : [await groupOf(global, actor, wish.group_id)];
      const made = await createRules(global, actor, [wantedRule(wish)], p.clock.now());
      if (made.kind === 'refused' && made.refusal.type === 'SecurityGroupRuleExists')
        throw badRequest(`This rule already exists in group ${group.id}`);
      const [rule] = valueOrThrow(made);
      if (!rule) throw new Error('one rule was asked for and none was made');
      return { status: 200, body: { security_group_rule: await renderRule(global, actor, rule, source) } };
    },
  }),
  route({
    ...{ ...shared, method: 'DELETE', url: `${RULES}/:id`, summary: 'Delete a rule of a security group' },
    policy: 'os_compute_api:os-security-groups:rule:delete',
    behind: { ...behind('delete_security_group_rule'), record: '/network/v2.0/security-group-rules/:id' },
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      if (!isUuid(params.id)) throw badRequest('Security group id should be uuid');
      if (!(await findRule(p.stores.global, actor, params.id)))
        throw notFound(`Security group rule ${params.id} does not exist`);
      valueOrThrow(await deleteRule(p.stores.global, actor, params.id, p.clock.now()));
      return { status: 202 };
    },
  }),
  route({
    ...{ method: 'GET', url: `${BASE}/servers/:id/os-security-groups`, service: 'compute' },
    summary: "List a server's security groups",
    policy: 'os_compute_api:os-security-groups:list',
    behind: behind('get_security_group'),
    params: IdParams,
    answers: { 200: object({ security_groups: Type.Array(Group) }) },
    handle: async ({ p, actor, params }) => {
      const { global } = p.stores;
      const { server } = await serverFor(p, actor, params.id);
      const { groups, named } = await networkService(p).groupsOf(p, actor, server.id);
      return { status: 200, body: { security_groups: await renderGroups(global, actor, groups, named) } };
    },
  }),
];

const Named = object({ name: Type.String({ minLength: 1, maxLength: 255 }) });

function checkedName({ name }: Static<typeof Named>): string {
  if (name.trim() === '') throw badRequest('Security group name cannot be empty');
  return name;
}

/** The ports of the server get other groups. @throws ApiError 403 */
function portsChange(call: ActionCall): ActionCall {
  const { projectId } = call.server;
  requireRule(call.p, 'network', call.actor, 'update_port', { project_id: projectId, tenant_id: projectId });
  return call;
}

export const SECURITY_GROUP_ACTIONS: Actions = {
  addSecurityGroup: action('os_compute_api:os-security-groups:add', Named, (call, value) => {
    const { p, actor, server } = portsChange(call);
    return accepted(networkService(p).addGroup(p, actor, server.id, checkedName(value)));
  }),
  removeSecurityGroup: action('os_compute_api:os-security-groups:remove', Named, (call, value) => {
    const { p, actor, server } = portsChange(call);
    return accepted(networkService(p).removeGroup(p, actor, server.id, checkedName(value)));
  }),
};
