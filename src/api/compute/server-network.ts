// A server's addresses.
import { Type } from 'typebox';
import { floatingIpsOfServers } from '../../control/network/server-networks.ts';
import { portsOfServer } from '../../control/network.ts';
import type { Platform } from '../../control/platform.ts';
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
      return { status: 200, body: { addresses: await addressesOf(p, server.id) } };
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
      const addresses = await addressesOf(p, server.id);
      const list = Object.hasOwn(addresses, params.key) ? addresses[params.key] : undefined;
      if (!list) throw notFound('Instance is not a member of specified network');
      return { status: 200, body: { [params.key]: list } };
    },
  }),
];

async function addressesOf(p: Platform, serverId: string): Promise<Record<string, object[]>> {
  const { global } = p.stores;
  const floating = (await floatingIpsOfServers(global, [serverId])).get(serverId) ?? [];
  return renderAddresses(await portsOfServer(global, serverId), floating, false);
}
