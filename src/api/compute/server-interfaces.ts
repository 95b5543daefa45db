// A server's interfaces: its ports, listed, shown, attached and detached (os-interface).
import { Type } from 'typebox';
import { networkForPort, type WantedPort } from '../../control/network/interfaces.ts';
import { findNetwork } from '../../control/network/networks.ts';
import { listPorts } from '../../control/network/ports.ts';
import { networkService } from '../../control/network/service.ts';
import { type Port, portsOfServer } from '../../control/network.ts';
import type { Platform } from '../../control/platform.ts';
import type { Actor } from '../../model/types.ts';
import { attachInterface, detachInterface } from '../../moves/interfaces.ts';
import { badRequest, errorOf, notFound, refuse } from '../http/errors.ts';
import { type Route, route, versions } from '../http/route.ts';
import { BASE, IdAndKeyParams, IdParams, nullable, object, serverFor, text } from './common.ts';
import { requireNewPort } from './new-ports.ts';

const INTERFACES = `${BASE}/servers/:id/os-interface`;
const service = 'compute' as const;
/** More ports than a server can have. */
const MANY = 100;

const Interface = object({
  port_id: text(),
  net_id: text(),
  mac_addr: text(),
  port_state: text(),
  fixed_ips: Type.Array(object({ subnet_id: text(), ip_address: text() })),
  tag: Type.Optional(nullable(text())),
});
const OneInterface = object({ interfaceAttachment: Interface });

const wish = {
  net_id: Type.Optional(Type.String({ format: 'uuid' })),
  port_id: Type.Optional(Type.String({ format: 'uuid' })),
  fixed_ips: Type.Optional(
    Type.Array(object({ ip_address: Type.Union([Type.String({ format: 'ipv4' }), Type.String({ format: 'ipv6' })]) }), {
      ...{ minItems: 1, maxItems: 1 },
    }),
  ),
};
const Tag = Type.Optional(Type.String({ minLength: 1, maxLength: 60, pattern: '^[^,/]*$' }));
const AttachBody = versions(
  [1, object({ interfaceAttachment: Type.Optional(object(wish)) })],
  [49, object({ interfaceAttachment: Type.Optional(object({ ...wish, tag: Tag })) })],
);

/** The body as the handler reads it, whatever the version. */
interface AttachWish {
  readonly net_id?: string;
  readonly port_id?: string;
  readonly fixed_ips?: readonly { readonly ip_address: string }[];
  readonly tag?: string;
}

interface Seen {
  readonly port: Port;
  readonly active: boolean;
}

const render = ({ port, active }: Seen, minor: number) => ({
  ...{ port_id: port.id, net_id: port.networkId, mac_addr: port.mac, port_state: active ? 'ACTIVE' : 'DOWN' },
  fixed_ips: port.fixedIps.map(({ subnetId, ip }) => ({ subnet_id: subnetId, ip_address: ip })),
  ...(minor >= 70 ? { tag: port.tag } : {}),
});

async function seenOf(p: Platform, actor: Actor, serverId: string): Promise<Seen[]> {
  const { global } = p.stores;
  await networkService(p).look(p, serverId);
  const bound = await listPorts(global, actor, { limit: MANY }, { deviceIds: [serverId], active: true });
  const active = new Set(bound.map(({ id }) => id));
  return (await portsOfServer(global, serverId)).map((port) => ({ port, active: active.has(port.id) }));
}

async function oneOf(p: Platform, actor: Actor, serverId: string, portId: string): Promise<Seen> {
  const one = (await seenOf(p, actor, serverId)).find(({ port }) => port.id === portId);
  if (!one) throw notFound(await whyNot(p, actor, serverId, portId));
  return one;
}

function wantedPort({ net_id, port_id, fixed_ips }: AttachWish): WantedPort {
  const ip = fixed_ips?.[0]?.ip_address ?? null;
  if (net_id !== undefined && port_id !== undefined) throw badRequest('Must not input both network_id and port_id');
  if (ip !== null && net_id === undefined) throw badRequest('Must input network_id when request IP address');
  if (port_id !== undefined) return { kind: 'port', portId: port_id.toLowerCase() };
  return { kind: 'network', networkId: net_id?.toLowerCase() ?? null, ip };
}

/** @throws ApiError 403 */
async function requirePort(p: Platform, actor: Actor, projectId: string, wanted: WantedPort): Promise<void> {
  if (wanted.kind === 'port') return;
  const { global } = p.stores;
  const networkId = await networkForPort(global, actor, projectId, wanted.networkId);
  const network = typeof networkId === 'string' ? await findNetwork(global, actor, networkId) : null;
  // What is no network is refused by the use case.
  if (network) requireNewPort(p, actor, { projectId, network, ip: wanted.ip });
}

export const serverInterfaceRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: INTERFACES, service, summary: "List a server's ports" },
    policy: 'os_compute_api:os-attach-interfaces:list',
    behind: { service: 'network', rule: 'get_port' },
    params: IdParams,
    answers: { 200: object({ interfaceAttachments: Type.Array(Interface) }) },
    handle: async ({ p, actor, params, minor }) => {
      const { server } = await serverFor(p, actor, params.id);
      const seen = await seenOf(p, actor, server.id);
      return { status: 200, body: { interfaceAttachments: seen.map((each) => render(each, minor)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${INTERFACES}/:key`, service, summary: "Show one of a server's ports" },
    policy: 'os_compute_api:os-attach-interfaces:show',
    behind: { service: 'network', rule: 'get_port' },
    params: IdAndKeyParams,
    answers: { 200: OneInterface },
    handle: async ({ p, actor, params: { id, key }, minor }) => {
      const { server } = await serverFor(p, actor, id);
      return { status: 200, body: { interfaceAttachment: render(await oneOf(p, actor, server.id, key), minor) } };
    },
  }),
  route({
    ...{ method: 'POST', url: INTERFACES, service, summary: 'Attach a port to a server' },
    policy: 'os_compute_api:os-attach-interfaces:create',
    params: IdParams,
    body: AttachBody,
    answers: { 200: OneInterface },
    handle: async ({ p, actor, params, body, minor }) => {
      const { server } = await serverFor(p, actor, params.id);
      const asked = (body.interfaceAttachment ?? {}) as AttachWish;
      const wanted = wantedPort(asked);
      await requirePort(p, actor, server.projectId, wanted);
      const result = await attachInterface(p, actor, server.id, wanted, asked.tag ?? null);
      if (result.kind === 'refused') throw errorOf(result.refusal);
      const seen = await oneOf(p, actor, server.id, result.portId);
      return { status: 200, body: { interfaceAttachment: render(seen, minor) } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${INTERFACES}/:key`, service, summary: 'Detach a port from a server' },
    policy: 'os_compute_api:os-attach-interfaces:delete',
    params: IdAndKeyParams,
    answers: { 202: null },
    handle: async ({ p, actor, params: { id, key } }) => {
      const { server } = await serverFor(p, actor, id);
      refuse(await detachInterface(p, actor, server.id, key));
      return { status: 202 };
    },
  }),
];

/** A port of another project is not there. */
async function whyNot(p: Platform, actor: Actor, serverId: string, portId: string): Promise<string> {
  const shown = portId.slice(0, 255);
  const port = await p.stores.global
    .selectFrom('ports')
    .select('id')
    .where('id', '=', portId)
    .where('project_id', '=', actor.projectId)
    .executeTakeFirst();
  return port ? `Instance ${serverId} does not have a port with id ${shown}` : `Port id ${shown} could not be found.`;
}
