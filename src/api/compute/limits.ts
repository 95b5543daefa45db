// What a project may have and has, as users read it; operators set it with quota sets (quotas.ts).
import { Type } from 'typebox';
import { quotaOf } from '../../control/quota.ts';
import { countServerGroups } from '../../control/server-groups.ts';
import { requireRule } from '../http/auth.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, object, text } from './common.ts';

export const limitRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/limits`,
    service: 'compute',
    summary: "The project's limits and what it uses of them",
    policy: 'os_compute_api:limits',
    query: object({ tenant_id: Type.Optional(text()), reserved: Type.Optional(text(10)) }),
    answers: {
      200: object({
        limits: object({
          rate: Type.Array(Type.Object({}), { maxItems: 0 }),
          absolute: Type.Record(Type.String(), Type.Integer()),
        }),
      }),
    },
    handle: async ({ p, actor, query, minor }) => {
      if (query.tenant_id !== undefined && query.tenant_id !== actor.projectId) {
        requireRule(p, 'compute', actor, 'os_compute_api:limits:other_project');
      }
      const { limits, used } = await quotaOf(p, query.tenant_id ?? actor.projectId);
      const groups = await countServerGroups(p.stores.global, query.tenant_id ?? actor.projectId);
      const absolute = {
        maxTotalInstances: limits.instances,
        maxTotalCores: limits.cores,
        maxTotalRAMSize: limits.ram,
        maxServerMeta: limits.metadata_items,
        maxTotalKeypairs: limits.key_pairs,
        maxServerGroups: limits.server_groups,
        maxServerGroupMembers: limits.server_group_members,
        ...(minor < 39 ? { maxImageMeta: limits.metadata_items } : {}),
        // The network service's, which Nova proxied until 2.35; here it has limits and usage of its own.
        ...(minor < 36
          ? {
              maxTotalFloatingIps: limits.floating_ips,
              maxSecurityGroups: limits.security_groups,
              maxSecurityGroupRules: limits.security_group_rules,
              totalFloatingIpsUsed: 0,
              totalSecurityGroupsUsed: 0,
            }
          : {}),
        ...(minor < 57
          ? {
              maxPersonality: limits.injected_files,
              maxPersonalitySize: limits.injected_file_content_bytes,
            }
          : {}),
        totalInstancesUsed: used.instances,
        totalCoresUsed: used.cores,
        totalRAMUsed: used.ram,
        totalServerGroupsUsed: groups,
      };
      return { status: 200, body: { limits: { rate: [], absolute } } };
    },
  }),
];
