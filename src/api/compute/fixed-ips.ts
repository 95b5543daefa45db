// The actions addFixedIp and removeFixedIp (until 2.43): another address for a port of the server's, or one less, in Nova's
// old words. They call the use case that the network API calls.
import { Type } from 'typebox';
import { findNetwork } from '../../control/network/networks.ts';
import { networkService } from '../../control/network/service.ts';
import { type Port, portsOfServer } from '../../control/network.ts';
import { checkAction, stateOf } from '../../model/actions.ts';
import { canonicalIpv6 } from '../../model/network.ts';
import { isAdmin } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, notFound, refuse } from '../http/errors.ts';
import { portTarget } from '../network/ports.ts';
import { requireAttributes } from '../network/resource.ts';
import { object } from './common.ts';
import { type ActionCall, type Actions, action } from './server-action.ts';

const LAST = 43;
const until =
  <S>(schema: S) =>
  (minor: number) =>
    minor <= LAST ? schema : null;

type Wishes = readonly { readonly subnetId: string; readonly ip?: string }[];

/** As far as the network service lets the user. @throws ApiError */
async function readdress({ p, actor, server }: ActionCall, port: Port, fixedIps: Wishes): Promise<void> {
  const network = await findNetwork(p.stores.global, actor, port.networkId);
  const target = portTarget(server.projectId, network, '');
  const fixed_ips = fixedIps.map(({ subnetId, ip }) => ({ subnet_id: subnetId, ip_address: ip }));
  requireRule(p, 'network', actor, 'update_port', target);
  requireAttributes({ p, actor }, 'update_port', { fixed_ips }, target);
  refuse(await networkService(p).readdress(p, actor, port.id, fixedIps));
}

/** The server's ports. @throws ApiError 409 when it is locked */
async function portsFor({ p, actor, server }: ActionCall, name: 'addFixedIp' | 'removeFixedIp'): Promise<Port[]> {
  refuse(checkAction(name, stateOf(server), isAdmin(actor)));
  await networkService(p).look(p, server.id);
  return portsOfServer(p.stores.global, server.id);
}

const kept = ({ fixedIps }: Port): { subnetId: string; ip: string }[] =>
  fixedIps.map(({ subnetId, ip }) => ({ subnetId, ip }));

export const FIXED_IP_ACTIONS: Actions = {
  addFixedIp: action(
    'os_compute_api:os-multinic:add',
    until(object({ networkId: Type.Union([Type.String({ minLength: 1, maxLength: 36 }), Type.Number()]) })),
    async (call, { networkId }) => {
      const ports = await portsFor(call, 'addFixedIp');
      const port = ports.find((each) => each.networkId === String(networkId));
      if (!port) throw notFound(`Network could not be found for instance ${call.server.id}.`);
      await readdress(call, port, [...kept(port), { subnetId: port.subnetId }]);
      return { status: 202 };
    },
  ),
  removeFixedIp: action(
    'os_compute_api:os-multinic:remove',
    until(object({ address: Type.Union([Type.String({ format: 'ipv4' }), Type.String({ format: 'ipv6' })]) })),
    async (call, { address }) => {
      const ports = await portsFor(call, 'removeFixedIp');
      const wanted = canonicalIpv6(address);
      const port = ports.find((each) => each.fixedIps.some(({ ip }) => ip === wanted));
      if (!port) throw badRequest(`Instance ${call.server.id} does not have fixed IP '${address}'.`);
      await readdress(
        call,
        port,
        kept(port).filter(({ ip }) => ip !== wanted),
      );
      return { status: 202 };
    },
  ),
};
