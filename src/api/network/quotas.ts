// Quotas of the network service, as Neutron's extension quotas.
import { Type } from 'typebox';
import {
  isNetworkQuota,
  NETWORK_LIMITS,
  type NetworkQuota,
  networkLimits,
  networkUsage,
  projectsWithLimits,
  resetNetworkLimits,
  setNetworkLimits,
} from '../../control/network/quotas.ts';
import { no, overQuota } from '../../control/network/results.ts';
import { type Route, route } from '../http/route.ts';
import { lenientInteger } from '../http/validation.ts';
import { orThrow } from './refusals.ts';
import { boolean, Params, ShowQuery, service, strict, V2 } from './shapes.ts';

const URL = `${V2}/quotas`;
const Limits = Type.Record(Type.String(), Type.Integer());
const One = Type.Object({ quota: Limits }, strict);
const limit = lenientInteger(-1, 2 ** 31 - 1);
const Change = Type.Object(
  {
    ...Object.fromEntries(Object.keys(NETWORK_LIMITS).map((name) => [name, Type.Optional(limit)])),
    /** Whether a limit below what is used is refused. */
    check_limit: boolean,
    force: boolean,
  },
  strict,
);
const Detail = Type.Object({ limit: Type.Integer(), used: Type.Integer(), reserved: Type.Integer() }, strict);
const ofProject = (id: string) => ({ project_id: id, tenant_id: id });

export const quotaRoutes: readonly Route[] = [
  route({
    ...{
      method: 'GET',
      url: URL,
      service,
      summary: 'List the projects with limits of their own',
      policy: 'update_quota',
    },
    query: ShowQuery,
    answers: {
      200: Type.Object(
        { quotas: Type.Array(Type.Record(Type.String(), Type.Union([Type.Integer(), Type.String()]))) },
        strict,
      ),
    },
    handle: async ({ p }) => {
      const { global } = p.stores;
      const quotas: object[] = [];
      for (const id of await projectsWithLimits(global))
        quotas.push({ ...(await networkLimits(global, id)), ...ofProject(id) });
      return { status: 200, body: { quotas } };
    },
  }),
  // Older clients ask which project's limits they are to ask for.
  ...(['project', 'tenant'] as const).map((what) =>
    route({
      ...{ method: 'GET', url: `${URL}/${what}`, service, summary: "Show the project's id", policy: 'anyone' },
      answers: { 200: Type.Object({ [what]: Type.Object({ [`${what}_id`]: Type.String() }, strict) }, strict) },
      handle: ({ actor: { projectId } }) => {
        if (projectId === '') orThrow(no(400, 'QuotaMissingTenant', 'Tenant-id was missing from quota request.'));
        return { status: 200, body: { [what]: { [`${what}_id`]: projectId } } };
      },
    }),
  ),
  route({
    ...{ method: 'GET', url: `${URL}/:id`, service, summary: 'Show the limits of a project', policy: 'get_quota' },
    target: ofProject,
    params: Params,
    answers: { 200: One },
    handle: async ({ p, params }) => ({
      status: 200,
      body: { quota: await networkLimits(p.stores.global, params.id) },
    }),
  }),
  route({
    ...{ method: 'GET', url: `${URL}/:id/default`, service, summary: 'Show the limits that a project begins with' },
    ...{ policy: 'get_quota', target: ofProject },
    params: Params,
    answers: { 200: One },
    handle: () => ({ status: 200, body: { quota: NETWORK_LIMITS } }),
  }),
  // Older clients say in the path that they want JSON.
  ...['details', 'details.json'].map((last) =>
    route({
      ...{ method: 'GET', url: `${URL}/:id/${last}`, service, summary: 'Show limits and usage of a project' },
      ...{ policy: 'get_quota', target: ofProject },
      params: Params,
      answers: { 200: Type.Object({ quota: Type.Record(Type.String(), Detail) }, strict) },
      handle: async ({ p, params }) => {
        const limits = await networkLimits(p.stores.global, params.id);
        const used = await networkUsage(p.stores.global, params.id);
        const names = Object.keys(limits) as NetworkQuota[];
        const details = names.map((name) => [name, { limit: limits[name], used: used[name], reserved: 0 }]);
        return { status: 200, body: { quota: Object.fromEntries(details) } };
      },
    }),
  ),
  route({
    ...{ method: 'PUT', url: `${URL}/:id`, service, summary: 'Set limits of a project', policy: 'update_quota' },
    params: Params,
    body: Type.Object({ quota: Change }, strict),
    answers: { 200: One },
    handle: async ({ p, params, body }) => {
      const limits = Object.entries(body.quota).flatMap(([name, value]) =>
        isNetworkQuota(name) && typeof value === 'number' ? [[name, value] as const] : [],
      );
      if (body.quota.check_limit) {
        const used = await networkUsage(p.stores.global, params.id);
        const below = limits.flatMap(([name, value]) => (value >= 0 && value < used[name] ? [name] : []));
        if (below.length > 0) orThrow(overQuota(below.join("', '")));
      }
      await setNetworkLimits(p.stores.global, params.id, Object.fromEntries(limits));
      return { status: 200, body: { quota: await networkLimits(p.stores.global, params.id) } };
    },
  }),
  route({
    ...{
      method: 'DELETE',
      url: `${URL}/:id`,
      service,
      summary: 'Give a project the default limits',
      policy: 'delete_quota',
    },
    params: Params,
    answers: { 204: null },
    handle: async ({ p, params }) => {
      await resetNetworkLimits(p.stores.global, params.id);
      return { status: 204 };
    },
  }),
];
