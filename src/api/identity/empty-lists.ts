// Lists of what identity does not have. Clients read them to show or to clean up all there is, and say that the service is
// broken where one is missing.
import { type TSchema, Type } from 'typebox';
import type { RuleName } from '../../model/policy/rules.ts';
import { text } from '../compute/common.ts';
import { type Route, route } from '../http/route.ts';
import { listed, V3 } from './render.ts';
import * as schema from './schemas.ts';

/** Path, what the list is called in its answer, and the rule of a user's own. Nobody learns anything by the others. */
const EMPTY: readonly (readonly [path: string, key: string, rule?: RuleName])[] = [
  ['/credentials', 'credentials'],
  ['/limits', 'limits'],
  ['/policies', 'policies'],
  ['/registered_limits', 'registered_limits'],
  ['/users/:id/access_rules', 'access_rules', 'identity:list_access_rules'],
  ['/users/:id/credentials/OS-EC2', 'credentials', 'identity:ec2_list_credentials'],
  ['/OS-EP-FILTER/endpoint_groups', 'endpoint_groups'],
  ['/OS-FEDERATION/identity_providers', 'identity_providers'],
  ['/OS-FEDERATION/mappings', 'mappings'],
  ['/OS-FEDERATION/service_providers', 'service_providers'],
  ['/OS-OAUTH1/consumers', 'consumers'],
  ['/OS-TRUST/trusts', 'trusts'],
];

/** Filters mean nothing where there is nothing. */
const Query = Type.Object({}, { additionalProperties: text(4000) });
const Nothing: TSchema = Type.Never();

export const emptyListRoutes: readonly Route[] = EMPTY.map(([path, key, rule]) =>
  route({
    ...{ method: 'GET', url: `${V3}${path}`, service: 'identity', query: Query },
    summary: `List ${key.replaceAll('_', ' ')}: there are none`,
    policy: rule ?? 'anyone',
    ...(rule ? { params: schema.IdParams, target: (id: string) => ({ user_id: id }) } : {}),
    answers: { 200: schema.listOf(key, Nothing) },
    handle: ({ p, request }) => ({
      status: 200,
      body: listed(p.settings, request.originalUrl.slice(V3.length).replace(/\?.*/, ''), key, []),
    }),
  }),
);
