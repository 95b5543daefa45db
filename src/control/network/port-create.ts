// Making a port for a user of the network API. All of it is one transaction, alone among those of the service, so that
// quota, groups and addresses are what was checked.
import { newId } from '../../lib/ids.ts';
import type { Actor } from '../../model/types.ts';
import { atomically, exclusively } from '../../store/dialect.ts';
import { insertPort } from './addresses.ts';
import { checkHolder } from './holders.ts';
import { type NetworkRecord, networkFor } from './networks.ts';
import { checkSecurity, dnsNameOf, macOf, type PortWish, pairsOf, profileText, sourcesOf } from './port-rules.ts';
import { findPort, type PortRecord } from './ports.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import { absent, accepted, type NetworkResult, no, refusable, refuseWith, wrongText } from './results.ts';
import { addGroupsToPort, checkGroups, defaultGroupOf } from './security-groups.ts';
import { type Db, flag } from './standard.ts';
import { subnetsOf } from './subnets.ts';

export interface PortCreation extends PortWish {
  readonly networkId: string;
  readonly now: number;
}

/** Creates a port of the actor's project, that no server uses yet, on a network that it sees. */
export async function createPort(db: Db, actor: Actor, request: PortCreation): Promise<NetworkResult<PortRecord>> {
  const wrong = wrongText(request);
  if (wrong) return wrong;
  return refusable(async () => {
    const defaultGroup = await defaultGroupOf(db, actor.projectId, request.now);
    return atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const network = await networkFor(trx, actor, request.networkId);
      await claimQuota(trx, 'port', actor.projectId);
      const id = newId();
      const sources = await sourcesFor(trx, network, request);
      const { portSecurity = network.portSecurity, deviceOwner = '', deviceId: holderId = '', now } = request;
      await checkHolder(trx, actor, 'create_port', { projectId: actor.projectId, deviceOwner, holderId });
      const mac = request.mac === undefined ? {} : { mac: macOf(request.mac) };
      const made = accepted(
        await insertPort(
          trx,
          {
            ...{ id, name: request.name ?? '', projectId: actor.projectId, networkId: network.id, ...mac },
            ...{ deviceId: '', holderId, deviceOwner, portSecurity, byUser: true, now },
          },
          sources,
        ),
      );
      const pairs = pairsOf(request.addressPairs ?? [], made.mac);
      const secured = portSecurity && !deviceOwner.startsWith('network:');
      const groups = request.groupIds ?? (secured ? [defaultGroup] : []);
      checkSecurity({ portSecurity, groups: groups.length, pairs: pairs.length });
      await checkGroups(trx, actor.projectId, groups);
      await addGroupsToPort(trx, id, groups);
      await trx
        .updateTable('ports')
        .set({
          ...{ description: request.description ?? '', admin_state_up: flag(request.adminStateUp ?? true) },
          ...{ address_pairs_json: JSON.stringify(pairs), dns_name: dnsNameOf(request.dnsName ?? '') },
          ...{ wanted_host: request.wantedHost ?? '', vnic_type: request.vnicType ?? 'normal' },
          profile_json: profileText(request.profile ?? {}),
          dhcp_options_json: JSON.stringify(request.dhcpOptions ?? []),
        })
        .where('id', '=', id)
        .execute();
      return (await findPort(trx, actor, id)) ?? refuseWith(absent('port', id));
    });
  });
}

async function sourcesFor(trx: Db, network: NetworkRecord, request: PortCreation) {
  const subnets = await subnetsOf(trx, network.id);
  const sources = sourcesOf(network.id, subnets, request.deviceOwner ?? '', request.fixedIps);
  for (const { subnetId, ip } of sources) {
    const same = sources.filter((each) => each.subnetId === subnetId && each.ip === ip && ip !== undefined);
    if (same.length > 1)
      refuseWith(no(400, 'InvalidInput', `Invalid input for operation: Duplicate IP address ${ip}.`));
  }
  return sources;
}
