// What Nova has taken away for good, in every microversion: 410, so that an old client learns that it is no use to try
// again. Nova's list (nova/api/openstack/compute/routes.py, where a controller raises HTTPGone).
import { Type } from 'typebox';
import { ApiError } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE } from './common.ts';

/** Path → methods. */
const GONE: Readonly<Record<string, readonly Route['method'][]>> = {
  '/os-agents': ['GET', 'POST'],
  '/os-agents/:id': ['PUT', 'DELETE'],
  '/os-cells': ['GET', 'POST'],
  '/os-cells/capacities': ['GET'],
  '/os-cells/detail': ['GET'],
  '/os-cells/info': ['GET'],
  '/os-cells/sync_instances': ['POST'],
  '/os-cells/:id': ['GET', 'PUT', 'DELETE'],
  '/os-cells/:id/capacities': ['GET'],
  '/os-certificates': ['POST'],
  '/os-certificates/:id': ['GET'],
  '/os-cloudpipe': ['GET', 'POST'],
  '/os-cloudpipe/:id': ['PUT'],
  '/os-fixed-ips/:id': ['GET'],
  '/os-fixed-ips/:id/action': ['POST'],
  '/os-floating-ip-dns': ['GET'],
  '/os-floating-ip-dns/:id': ['PUT', 'DELETE'],
  '/os-floating-ip-dns/:id/entries/:key': ['GET', 'PUT', 'DELETE'],
  '/os-floating-ips-bulk': ['GET', 'POST'],
  '/os-floating-ips-bulk/:id': ['GET', 'PUT'],
  '/os-fping': ['GET'],
  '/os-fping/:id': ['GET'],
  '/os-security-group-default-rules': ['GET', 'POST'],
  '/os-security-group-default-rules/:id': ['GET', 'DELETE'],
  '/servers/:id/consoles': ['GET', 'POST'],
  '/servers/:id/consoles/:key': ['GET', 'DELETE'],
  '/servers/:id/os-virtual-interfaces': ['GET'],
};

const Anything = Type.Record(Type.String(), Type.Unknown());
const Id = Type.String({ maxLength: 1024 });

export const goneRoutes: readonly Route[] = Object.entries(GONE).flatMap(([path, methods]) =>
  methods.map((method) =>
    route({
      ...{ method, url: `${BASE}${path}`, service: 'compute', summary: 'Gone', policy: 'anyone' },
      params: Type.Object({ id: Type.Optional(Id), key: Type.Optional(Id) }),
      query: Anything,
      answers: { 410: null },
      handle: () => {
        throw new ApiError(410, 'This resource is no longer available. No forwarding address is given.');
      },
    }),
  ),
);
