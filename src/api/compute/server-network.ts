// What a server has on networks: addresses and ports; and the lists that clients ask for beside them.
import { Type } from 'typebox';
import { portsOfServer } from '../../control/network.ts';
import { notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdAndKeyParams, IdParams, object, serverFor, text } from './common.ts';
import { renderAddresses } from './server-view.ts';

const Addresses = Type.Record(Type.String(), Type.Array(object({ version: Type.Integer(), addr: text() })));

export const serverNetworkRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/servers/:id/ips`,
    service: 'compute',
    summary: "List a server's addresses by network",
    policy: 'os_compute_api:ips:index',
    params: IdParams,
    answers: { 200: object({ addresses: Addresses }) },
    handle: async ({ p, actor, params }) => {
      const { server } = await serverFor(p, actor, params.id);
      return {
        status: 200,
        body: { addresses: renderAddresses(await portsOfServer(p.stores.global, server.id), false) },
      };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers/:id/ips/:key`,
    service: 'compute',
    summary: "List a server's addresses on one network, by its name",
    policy: 'os_compute_api:ips:show',
    params: IdAndKeyParams,
    answers: { 200: Addresses },
    handle: async ({ p, actor, params }) => {
      const { server } = await serverFor(p, actor, params.id);
      const addresses = renderAddresses(await portsOfServer(p.stores.global, server.id), false);
      const list = Object.hasOwn(addresses, params.key) ? addresses[params.key] : undefined;
      if (!list) throw notFound('Instance is not a member of specified network');
      return { status: 200, body: { [params.key]: list } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers/:id/os-security-groups`,
    service: 'compute',
    summary: "List a server's security groups: always none",
    policy: 'os_compute_api:os-security-groups:list',
    params: IdParams,
    answers: { 200: object({ security_groups: Type.Array(Type.Object({}), { maxItems: 0 }) }) },
    handle: async ({ p, actor, params }) => {
      await serverFor(p, actor, params.id);
      return { status: 200, body: { security_groups: [] } };
    },
  }),
];
