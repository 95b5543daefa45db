// Addresses of servers' ports in a Neutron: changed there, and on record here as they are there.
//
// The record is what is shown of a server and told to its guest. It is compared with Neutron whenever the server's ports
// are settled or looked at; a difference is written in one transaction with the debt that the guest follows
// (owed-cards.ts). A port whose addresses a guest could not be told any of stays on record as it was.
import { badRequest } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import type { Neutron, NeutronPort } from '../../openstack/neutron.ts';
import { exclusively } from '../../store/dialect.ts';
import type { Platform } from '../platform.ts';
import { type FixedIp, givenElsewhere, takeAddress } from './addresses.ts';
import { inItsWords, isIpv6, ledgerPort } from './neutron-ports.ts';
import { oweCards } from './owed-cards.ts';
import { NETWORKS } from './quotas.ts';
import { refusable } from './results.ts';
import type { AddressWish } from './service.ts';

export async function readdressAt(
  p: Platform,
  neutron: Neutron,
  portId: string,
  wishes: readonly AddressWish[],
): Promise<Refusal | null> {
  if (!(await hasIpv4(p, wishes))) return badRequest(`Port ${portId} requires a FixedIP in order to be used.`);
  const fixedIps = wishes.map(({ subnetId, ip }) => ({
    subnet_id: subnetId,
    ...(ip === undefined ? {} : { ip_address: ip }),
  }));
  const said = await neutron.setAddresses(portId, fixedIps);
  if (said.kind === 'refused') return inItsWords(said);
  await recordAddresses(p, said.body);
  return null;
}

async function hasIpv4(p: Platform, wishes: readonly AddressWish[]): Promise<boolean> {
  const ids = wishes.map(({ subnetId }) => subnetId);
  if (ids.length === 0) return false;
  const subnets = await p.stores.global.selectFrom('subnets').select('cidr').where('id', 'in', ids).execute();
  return subnets.some(({ cidr }) => !isIpv6(cidr));
}

/** The port is on record, if a server has it, with the addresses that it has in Neutron. */
export async function recordAddresses(p: Platform, port: NeutronPort): Promise<void> {
  const { fixedIps } = await ledgerPort(p, port);
  const [first] = fixedIps;
  const before = await addressesOf(p, port.id);
  if (!first || isIpv6(first.ip) || before.length === 0 || textOf(before) === textOf(fixedIps)) return;
  const written = await refusable(() =>
    p.stores.global.transaction().execute(async (trx) => {
      await exclusively(trx, NETWORKS);
      const known = await trx.selectFrom('ports').select('device_id').where('id', '=', port.id).executeTakeFirst();
      if (!known || known.device_id === '') return;
      const reason = `port ${port.id} has other addresses in Neutron`;
      await oweCards(trx, { id: port.id, serverId: known.device_id }, reason, p.clock.now());
      await trx.deleteFrom('port_addresses').where('port_id', '=', port.id).execute();
      const { id, networkId } = { id: port.id, networkId: port.network_id };
      for (const [position, ip] of fixedIps.entries()) {
        await takeAddress(trx, { id, networkId }, givenElsewhere(ip), position);
      }
    }),
  );
  if (written.kind === 'refused') {
    p.log.error({ portId: port.id }, `addresses cannot be put on record: ${written.refusal.message}`);
  }
}

const textOf = (ips: readonly FixedIp[]): string => ips.map(({ subnetId, ip }) => `${subnetId} ${ip}`).join();

const addressesOf = (p: Platform, portId: string) =>
  p.stores.global
    .selectFrom('port_addresses')
    .select(['subnet_id as subnetId', 'ip'])
    .where('port_id', '=', portId)
    .orderBy('position')
    .execute();
