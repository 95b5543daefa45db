// Security groups and their rules, as Neutron's extension security-group. No driver of hosts enforces them: see
// docs/compatibility.md.
import { type Static, Type } from 'typebox';
import {
  createRules,
  deleteRule,
  findRule,
  listRules,
  RULE_COLUMNS,
  type RuleRecord,
} from '../../control/network/security-group-rules.ts';
import {
  createGroup,
  defaultGroupOf,
  deleteGroup,
  findGroup,
  GROUP_COLUMNS,
  type GroupRecord,
  listGroups,
  updateGroup,
} from '../../control/network/security-groups.ts';
import type { Route } from '../http/route.ts';
import { lenientInteger } from '../http/validation.ts';
import type { ListQuery } from './listing.ts';
import { type Context, resourceRoutes } from './resource.ts';
import { boolean, idOrNull, named, optional, project, renderStandard, standard, strict, text } from './shapes.ts';

const nullable = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) => Type.Union([schema, Type.Null()]);
/** Which of these is a port, or a type of ICMP, is said by the rule's protocol. */
const port = optional(nullable(lenientInteger(-(2 ** 31), 2 ** 31 - 1)));
const CreateRule = Type.Object(
  {
    ...{ ...project, description: optional(text), security_group_id: text },
    ...{ direction: Type.Enum(['ingress', 'egress']), ethertype: optional(text), port_range_min: port },
    ...{ port_range_max: port, remote_ip_prefix: optional(nullable(text)), remote_group_id: optional(idOrNull) },
    ...{
      protocol: optional(nullable(Type.Union([Type.Integer(), text]))),
      remote_address_group_id: optional(Type.Null()),
    },
  },
  strict,
);
const number = nullable(Type.Integer());
const Rule = Type.Partial(
  Type.Object({
    ...{ id: Type.String(), description: Type.String(), project_id: Type.String(), tenant_id: Type.String() },
    ...{ revision_number: Type.Integer(), created_at: Type.String(), updated_at: Type.String() },
    ...{ tags: standard.tags, security_group_id: Type.String(), direction: Type.Enum(['ingress', 'egress']) },
    ...{ ethertype: Type.Enum(['IPv4', 'IPv6']), protocol: nullable(Type.String()), port_range_min: number },
    ...{ port_range_max: number, remote_ip_prefix: nullable(Type.String()), remote_group_id: nullable(Type.String()) },
    ...{ normalized_cidr: nullable(Type.String()), remote_address_group_id: Type.Null() },
  }),
  strict,
);
const Group = Type.Partial(
  Type.Object({
    ...{ ...standard, stateful: Type.Boolean(), shared: Type.Literal(false) },
    security_group_rules: Type.Array(Rule),
  }),
  strict,
);
const CreateGroup = Type.Object({ ...project, ...named, stateful: boolean }, strict);
const UpdateGroup = Type.Object({ ...named, stateful: boolean }, strict);

const renderRule = (rule: RuleRecord): Static<typeof Rule> => ({
  ...renderStandard(rule),
  ...{ security_group_id: rule.groupId, direction: rule.direction, ethertype: rule.ethertype },
  ...{ protocol: rule.protocol, port_range_min: rule.portMin, port_range_max: rule.portMax },
  ...{ remote_ip_prefix: rule.remotePrefix, normalized_cidr: rule.remotePrefix, remote_group_id: rule.remoteGroupId },
  remote_address_group_id: null,
});

const renderGroup = (group: GroupRecord): Static<typeof Group> => ({
  ...{ ...renderStandard(group), name: group.name, stateful: group.stateful, shared: false },
  security_group_rules: group.rules.map(renderRule),
});

/** Whoever looks for a project's groups finds the default one. */
async function ensureDefault({ db, actor, now }: Context, query: ListQuery): Promise<void> {
  const named = (query['project_id'] ?? query['tenant_id']) as readonly string[] | undefined;
  const projectId = named?.[0] ?? actor.projectId;
  if (projectId === actor.projectId && projectId !== '') await defaultGroupOf(db, projectId, now);
}

const groupRoutes = resourceRoutes<GroupRecord>({
  ...{ path: 'security-groups', single: 'security_group', called: 'a security group' },
  ...{ collection: GROUP_COLUMNS, item: Group },
  list: async (context, selection, query) => {
    await ensureDefault(context, query);
    return listGroups(context.db, context.actor, selection);
  },
  find: ({ db, actor }, id) => findGroup(db, actor, id),
  render: renderGroup,
  create: {
    attributes: CreateGroup,
    run: ({ db, actor, now }, wish: Static<typeof CreateGroup>) =>
      createGroup(db, actor, { ...wish, name: wish.name ?? '', now }),
  },
  update: {
    attributes: UpdateGroup,
    run: ({ db, actor, now }, id, wish: Static<typeof UpdateGroup>) => updateGroup(db, actor, id, { ...wish, now }),
  },
  remove: ({ db, actor }, id) => deleteGroup(db, actor, id),
});

const ruleRoutes = resourceRoutes<RuleRecord>({
  ...{ path: 'security-group-rules', single: 'security_group_rule', called: 'a rule of a security group' },
  ...{ collection: RULE_COLUMNS, item: Rule },
  list: async (context, selection, query) => {
    await ensureDefault(context, query);
    return listRules(context.db, context.actor, selection);
  },
  find: ({ db, actor }, id) => findRule(db, actor, id),
  render: renderRule,
  create: {
    attributes: CreateRule,
    run: async ({ db, actor, now }, wish: Static<typeof CreateRule>) => {
      const { direction, ethertype, protocol, description } = wish;
      const rule = {
        ...{ groupId: wish.security_group_id, direction, ethertype, protocol, description },
        ...{ portMin: wish.port_range_min, portMax: wish.port_range_max },
        ...{ remotePrefix: wish.remote_ip_prefix, remoteGroupId: wish.remote_group_id || null },
      };
      const made = await createRules(db, actor, [rule], now);
      if (made.kind === 'refused') return made;
      const [value] = made.value;
      if (!value) throw new Error('one rule was asked for and none was made');
      return { kind: 'ok', value };
    },
  },
  remove: ({ db, actor, now }, id) => deleteRule(db, actor, id, now),
});

export const securityGroupRoutes: readonly Route[] = [...groupRoutes, ...ruleRoutes];
