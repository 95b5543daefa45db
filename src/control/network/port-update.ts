// Changing a port. What belongs to the moves stays: who uses it, while a server does, and where it is bound. All in one
// transaction, alone among those of the service. Floating IPs that lead to an address that goes lead to none.
import type { Actor } from '../../model/types.ts';
import { atomically, exclusively } from '../../store/dialect.ts';
import { takeAddress } from './addresses.ts';
import { checkHolder } from './holders.ts';
import { noSuchCard } from './interfaces.ts';
import { oweCards } from './owed-cards.ts';
import { checkSecurity, dnsNameOf, macOf, type PortWish, pairsOf, profileText, sourcesOf } from './port-rules.ts';
import { findPort, keepPort, type PortRecord } from './ports.ts';
import { NETWORKS } from './quotas.ts';
import { absent, badRequest, type NetworkResult, no, refusable, refuseWith, wrongText } from './results.ts';
import { checkGroups, setGroupsOfPort } from './security-groups.ts';
import { changed, type Db, flag, given } from './standard.ts';
import { subnetsOf } from './subnets.ts';

/** Changes a port that the actor sees. */
export async function updatePort(
  db: Db,
  actor: Actor,
  id: string,
  change: PortWish & { readonly now: number },
): Promise<NetworkResult<PortRecord>> {
  const wrong = wrongText(change);
  if (wrong) return wrong;
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const port = await keepPort(trx, actor, id);
      await checkDevice(trx, actor, port, change);
      // Before any address is taken: a move may wait for one, holding what this waits for.
      if (change.fixedIps !== undefined) await oweCards(trx, port, `port ${id} was given other addresses`, change.now);
      const mac = change.mac === undefined ? port.mac : await freeMac(trx, port, change.mac);
      if (change.fixedIps !== undefined) await readdress(trx, port, change, change.fixedIps);
      const portSecurity = change.portSecurity ?? port.portSecurity;
      const groups = change.groupIds ?? port.groupIds;
      if (change.groupIds === undefined && groups.length > 0 && !portSecurity) refuseSecured();
      const pairs = change.addressPairs === undefined ? port.addressPairs : pairsOf(change.addressPairs, mac);
      checkSecurity({ portSecurity, groups: groups.length, pairs: pairs.length });
      if (change.groupIds !== undefined) {
        await checkGroups(trx, port.projectId, change.groupIds);
        await setGroupsOfPort(trx, id, change.groupIds);
      }
      await trx
        .updateTable('ports')
        .set({
          ...given(change.name, (name) => ({ name })),
          ...given(change.description, (description) => ({ description })),
          ...given(change.adminStateUp, (up) => ({ admin_state_up: flag(up) })),
          ...given(change.dnsName, (name) => ({ dns_name: dnsNameOf(name) })),
          ...given(change.dhcpOptions, (options) => ({ dhcp_options_json: JSON.stringify(options) })),
          ...given(change.vnicType, (vnic_type) => ({ vnic_type })),
          ...given(change.profile, (profile) => ({ profile_json: profileText(profile) })),
          ...(port.serverId === '' ? holderColumns(change) : {}),
          ...{ mac, port_security: flag(portSecurity), address_pairs_json: JSON.stringify(pairs) },
          ...changed(change.now),
        })
        .where('id', '=', id)
        .execute();
      if (change.profile !== undefined) await boundByItsOwn(trx, id);
      return (await findPort(trx, actor, id)) ?? refuseWith(absent('port', id));
    }),
  );
}

const holderColumns = (change: PortWish) => ({
  ...given(change.wantedHost, (wanted_host) => ({ wanted_host })),
  ...given(change.deviceId, (holder_id) => ({ holder_id })),
  ...given(change.deviceOwner, (device_owner) => ({ device_owner })),
});

/** While a server, a router or a floating IP has it, that is not for users to change; nor is the card of a server's. */
async function checkDevice(trx: Db, actor: Actor, port: PortRecord, change: PortWish): Promise<void> {
  const { deviceId: holderId = port.deviceId, deviceOwner = port.deviceOwner, vnicType = port.vnicType } = change;
  const isSameCard = port.serverId === '' || vnicType === port.vnicType;
  if (holderId === port.deviceId && deviceOwner === port.deviceOwner && isSameCard) return;
  if (port.serverId === '' && !(port.deviceId !== '' && port.deviceOwner.startsWith('network:')))
    return checkHolder(trx, actor, 'update_port', { projectId: port.projectId, deviceOwner, holderId });
  const said = `Unable to complete operation on port ${port.id} for network ${port.networkId}. Port already has an attached device ${port.deviceId}.`;
  refuseWith(no(409, 'PortInUse', said));
}

/** The profile of a port is that of its active binding. */
const boundByItsOwn = (trx: Db, portId: string) =>
  trx
    .updateTable('port_bindings')
    .set({ profile_json: null })
    .where('port_id', '=', portId)
    .where('active', '=', 1)
    .execute();

async function freeMac(trx: Db, port: PortRecord, text: string): Promise<string> {
  const mac = macOf(text);
  if (mac === port.mac) return mac;
  if (port.host !== null) {
    const said = `Unable to complete operation on port ${port.id}, port is already bound, port type: other, old_mac ${port.mac}, new_mac ${mac}.`;
    refuseWith(no(409, 'PortBound', said));
  }
  const otherCard = port.serverId === '' ? null : noSuchCard({ ...port, mac });
  if (otherCard) refuseWith(badRequest(otherCard.message));
  const others = trx.selectFrom('ports').select('id').where('network_id', '=', port.networkId);
  if (!(await others.where('mac', '=', mac).executeTakeFirst())) return mac;
  const said = `Unable to complete operation for network ${port.networkId}. The mac address ${mac} is in use.`;
  return refuseWith(no(409, 'MacAddressInUse', said));
}

/** Gives the port these addresses. */
async function readdress(
  trx: Db,
  port: PortRecord,
  { deviceOwner = port.deviceOwner }: PortWish,
  wishes: NonNullable<PortWish['fixedIps']>,
): Promise<void> {
  const sources = sourcesOf(port.networkId, await subnetsOf(trx, port.networkId), deviceOwner, wishes);
  const unused = [...port.fixedIps];
  // A wish for any address of a subnet is met by one that the port has.
  const wanted = [...sources].map((source) => {
    const index = unused.findIndex(
      (each) => each.subnetId === source.subnetId && (source.ip === undefined || source.ip === each.ip),
    );
    const kept = index < 0 ? undefined : unused.splice(index, 1)[0];
    return { source, kept };
  });
  await trx.deleteFrom('port_addresses').where('port_id', '=', port.id).execute();
  let position = 0;
  for (const { source, kept } of wanted) {
    await takeAddress(trx, port, kept ? { ...source, ip: kept.ip } : source, position);
    position += 1;
  }
  if (unused.length > 0) {
    await trx
      .updateTable('floating_ips')
      .set({ fixed_port_id: null, fixed_ip: null, router_id: null })
      .where('fixed_port_id', '=', port.id)
      .where(
        'fixed_ip',
        'in',
        unused.map((each) => each.ip),
      )
      .execute();
  }
}

function refuseSecured(): never {
  const said =
    'Port has security group associated. Cannot disable port security or IP address until security group is removed.';
  return refuseWith(no(409, 'PortSecurityPortHasSecurityGroup', said));
}
