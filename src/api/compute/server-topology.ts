// The NUMA nodes that a server's guest is laid out over: none, for no flavor asks for a layout here. Nova answers the same
// for such a server (nova/api/openstack/compute/server_topology.py).
import { Type } from 'typebox';
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, object, serverFor } from './common.ts';

export const serverTopologyRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/servers/:id/topology`,
    service: 'compute',
    summary: 'NUMA nodes of a server: none',
    policy: 'compute:server:topology:index',
    since: 78,
    params: IdParams,
    answers: { 200: object({ nodes: Type.Array(Type.Object({}), { maxItems: 0 }), pagesize_kb: Type.Null() }) },
    handle: async ({ p, actor, params }) => {
      await serverFor(p, actor, params.id);
      return { status: 200, body: { nodes: [], pagesize_kb: null } };
    },
  }),
];
