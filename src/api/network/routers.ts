// Routers and their interfaces, as Neutron's extensions router, ext-gw-mode, extraroute and extraroute-atomic.
import { type Static, Type } from 'typebox';
import { addInterface, type InterfaceRecord, removeInterface } from '../../control/network/router-interfaces.ts';
import {
  changeRoutes,
  createRouter,
  deleteRouter,
  findRouter,
  type GatewayWish,
  listRouters,
  ROUTER_COLUMNS,
  type RouterChange,
  type RouterRecord,
  updateRouter,
} from '../../control/network/routers.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { ApiError } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { lenientBoolean } from '../http/validation.ts';
import { orThrow } from './refusals.ts';
import { type Context, requireAttributes, resourceRoutes } from './resource.ts';
import {
  boolean,
  ipv4,
  named,
  optional,
  Params,
  project,
  renderStandard,
  service,
  standard,
  strict,
  text,
  texts,
  V2,
  values,
} from './shapes.ts';

const FixedIp = Type.Object({ subnet_id: optional(text), ip_address: optional(ipv4) }, strict);
const GatewayInfo = Type.Union([
  Type.Object(
    { network_id: text, enable_snat: boolean, external_fixed_ips: optional(Type.Array(FixedIp, { maxItems: 10 })) },
    strict,
  ),
  Type.Object({}, strict),
  Type.Null(),
]);
const HostRoute = Type.Object({ destination: Type.String({ maxLength: 50 }), nexthop: ipv4 }, strict);
const changeable = { ...named, admin_state_up: boolean, external_gateway_info: optional(GatewayInfo) };
const kind = optional(Type.Union([lenientBoolean, Type.Null()]));
const CreateRouter = Type.Object(
  {
    ...{ ...project, ...changeable, distributed: kind, ha: kind },
    availability_zone_hints: optional(Type.Array(Type.Literal('nova'), { maxItems: 10 })),
  },
  strict,
);
const UpdateRouter = Type.Object(
  {
    ...{ ...changeable, distributed: kind, ha: kind },
    routes: optional(Type.Union([Type.Array(HostRoute, { maxItems: 100 }), Type.Null()])),
  },
  strict,
);

const Router = Type.Partial(
  Type.Object({
    ...{ ...standard, admin_state_up: Type.Boolean(), status: Type.Literal('ACTIVE'), routes: Type.Array(HostRoute) },
    external_gateway_info: Type.Union([
      Type.Object(
        {
          network_id: Type.String(),
          enable_snat: Type.Boolean(),
          external_fixed_ips: Type.Array(Type.Object({ subnet_id: Type.String(), ip_address: Type.String() }, strict)),
        },
        strict,
      ),
      Type.Null(),
    ]),
    ...{ distributed: Type.Literal(false), ha: Type.Literal(false), availability_zones: texts },
    ...{ availability_zone_hints: texts, flavor_id: Type.Null() },
  }),
  strict,
);

/** Both kinds have rules of their own. */
function kindsOf({ p, actor }: Pick<Context, 'p' | 'actor'>): Pick<Static<typeof Router>, 'distributed' | 'ha'> {
  const shows = (rule: RuleName): boolean => p.policies.allows('network', rule, actor);
  return {
    ...(shows('get_router:distributed') ? { distributed: false } : {}),
    ...(shows('get_router:ha') ? { ha: false } : {}),
  };
}

const renderRouter = (router: RouterRecord, context: Pick<Context, 'p' | 'actor'>): Static<typeof Router> => ({
  ...{ ...renderStandard(router), name: router.name, admin_state_up: router.adminStateUp, status: 'ACTIVE' },
  ...{ routes: [...router.routes], ...kindsOf(context), flavor_id: null },
  ...{ availability_zones: ['nova'], availability_zone_hints: [] },
  external_gateway_info: router.gateway && {
    network_id: router.gateway.networkId,
    enable_snat: router.gateway.enableSnat,
    external_fixed_ips: router.gateway.fixedIps.map(({ subnetId, ip }) => ({ subnet_id: subnetId, ip_address: ip })),
  },
});

/** An empty gateway is none. */
function gatewayOf(info: Static<typeof GatewayInfo> | undefined): GatewayWish | null | undefined {
  if (info === undefined || info === null) return info;
  if (!('network_id' in info)) return null;
  const fixedIps = info.external_fixed_ips?.map(({ subnet_id, ip_address }) => ({
    subnetId: subnet_id,
    ip: ip_address,
  }));
  return { networkId: info.network_id, enableSnat: info.enable_snat, fixedIps };
}

const changeOf = (wish: Static<typeof UpdateRouter>): RouterChange => ({
  ...{ name: wish.name, description: wish.description, adminStateUp: wish.admin_state_up },
  ...{ gateway: gatewayOf(wish.external_gateway_info), routes: wish.routes === null ? [] : wish.routes },
});

/** Which rules keep to administrators, and which is not offered to them either. */
function refuseOtherKinds({ distributed, ha }: Static<typeof UpdateRouter>): void {
  if (!distributed && !ha) return;
  throw new ApiError(400, 'Bad router request: Distributed and highly available routers are not offered here.', {
    type: 'BadRequest',
  });
}

const resource = resourceRoutes<RouterRecord>({
  ...{ path: 'routers', single: 'router', called: 'a router', collection: ROUTER_COLUMNS, item: Router },
  filters: { status: values },
  list: async ({ db, actor }, selection, query) => {
    const status = query['status'] as readonly string[] | undefined;
    return status && !status.includes('ACTIVE') ? [] : listRouters(db, actor, selection);
  },
  find: ({ db, actor }, id) => findRouter(db, actor, id),
  render: renderRouter,
  create: {
    attributes: CreateRouter,
    run: (context, wish: Static<typeof CreateRouter>) => {
      const { db, actor, now } = context;
      requireAttributes(context, 'create_router', wish, { project_id: actor.projectId, tenant_id: actor.projectId });
      refuseOtherKinds(wish);
      return createRouter(db, actor, { ...changeOf(wish), name: wish.name ?? '', now });
    },
  },
  update: {
    attributes: UpdateRouter,
    run: async (context, id, wish: Static<typeof UpdateRouter>) => {
      const { db, actor, now } = context;
      const projectId = (await findRouter(db, actor, id))?.projectId ?? '';
      requireAttributes(context, 'update_router', wish, { project_id: projectId, tenant_id: projectId });
      refuseOtherKinds(wish);
      return updateRouter(db, actor, id, { ...changeOf(wish), now });
    },
  },
  remove: ({ db, actor }, id) => deleteRouter(db, actor, id),
});

const Interface = Type.Object(
  {
    ...{ id: Type.String(), project_id: Type.String(), tenant_id: Type.String(), port_id: Type.String() },
    ...{ network_id: Type.String(), subnet_id: Type.String(), subnet_ids: texts },
  },
  strict,
);
const renderInterface = ({ router, portId, networkId, subnetIds }: InterfaceRecord): Static<typeof Interface> => ({
  ...{ id: router.id, project_id: router.projectId, tenant_id: router.projectId, port_id: portId },
  ...{ network_id: networkId, subnet_id: subnetIds[0] ?? '', subnet_ids: [...subnetIds] },
});

const interfaceRoute = (verb: string, summary: string, rule: RuleName, change: typeof addInterface): Route =>
  route({
    ...{ method: 'PUT', url: `${V2}/routers/:id/${verb}`, service, summary, policy: rule },
    params: Params,
    body: Type.Object({ subnet_id: optional(text), port_id: optional(text) }, strict),
    answers: { 200: Interface },
    handle: async ({ p, actor, params, body }) => {
      const wish = { subnetId: body.subnet_id, portId: body.port_id, now: p.clock.now() };
      return { status: 200, body: renderInterface(orThrow(await change(p.stores.global, actor, params.id, wish))) };
    },
  });

const Routes = Type.Object({ routes: Type.Array(HostRoute, { maxItems: 100 }) }, strict);

/** Several may add and remove at a time, which an update of all the routes does not allow. */
const extraRoute = (verb: 'add' | 'remove', summary: string): Route =>
  route({
    ...{ method: 'PUT', url: `${V2}/routers/:id/${verb}_extraroutes`, service, summary },
    policy: `${verb}_extraroutes`,
    params: Params,
    body: Type.Object({ router: Routes }, strict),
    answers: { 200: Type.Object({ router: Router }, strict) },
    handle: async ({ p, actor, params, body }) => {
      const change = { add: [], remove: [], [verb]: body.router.routes, now: p.clock.now() };
      const router = orThrow(await changeRoutes(p.stores.global, actor, params.id, change));
      return { status: 200, body: { router: renderRouter(router, { p, actor }) } };
    },
  });

export const routerRoutes: readonly Route[] = [
  ...resource,
  extraRoute('add', 'Add routes to a router'),
  extraRoute('remove', 'Remove routes from a router'),
  interfaceRoute('add_router_interface', 'Join a subnet to a router', 'add_router_interface', addInterface),
  interfaceRoute('remove_router_interface', 'Part a subnet from a router', 'remove_router_interface', removeInterface),
];
