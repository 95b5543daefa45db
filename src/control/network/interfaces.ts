// A server gets one more port, or loses one: the network service's part of attaching and detaching interfaces.
//
// Theory of operation. A port is given to a server, or made for it, in the transaction that also makes the saga
// (claimPort), alone among those of the network service, which give free ports to routers, change them and delete them:
// from then on nobody else can have it. It has no binding yet; the saga makes that. Released, a port that was
// made for the server is gone, one that a user made is free again; bindings go with both. So whoever claims undoes by
// releasing, and both accept to be repeated. Refusals are Nova's (nova/network/neutron.py).
import type { Kysely } from 'kysely';
import { MAX_PORTS } from '../../host/contract.ts';
import { isGroupMac } from '../../model/network.ts';
import { badRequest, conflict, forbidden, notFound } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { freePorts, insertServersPort, SERVERS } from '../network.ts';
import { givenElsewhere, insertPort } from './addresses.ts';
import { findNetwork, isUsableBy, listNetworks, type NetworkRecord } from './networks.ts';
import { findPort, type PortRecord } from './ports.ts';
import { NETWORKS } from './quotas.ts';
import { refusalIn } from './results.ts';
import type { TakenPort } from './service.ts';
import { changed } from './standard.ts';

type Db = Kysely<GlobalTables>;

/** Most networks that are looked at when none is named: a second one is one too many. */
const LOOKED_AT = 100;

/** What somebody wants: an existing port, or a new one on a network (the only one that there is, when null). */
export type WantedPort =
  | { readonly kind: 'port'; readonly portId: string }
  | { readonly kind: 'network'; readonly networkId: string | null; readonly ip: string | null };

/** Whose server it is for, and which id a new port gets. */
export interface PortClaim {
  readonly serverId: string;
  readonly projectId: string;
  readonly newPortId: string;
  readonly tag: string | null;
  readonly now: number;
  /** The port as it was taken in another network service; absent or null: it is here, or made here. */
  readonly taken?: TakenPort | null;
}

/** The server has the port afterwards; `portId` tells which. @param trx a transaction that has locked no rows yet */
export async function claimPort(
  trx: Db,
  actor: Actor,
  wanted: WantedPort,
  claim: PortClaim,
): Promise<{ readonly portId: string } | Refusal> {
  await exclusively(trx, NETWORKS);
  const { count } = await trx
    .selectFrom('ports')
    .select((select) => select.fn.countAll<number>().as('count'))
    .where('device_id', '=', claim.serverId)
    .executeTakeFirstOrThrow();
  if (Number(count) >= MAX_PORTS) return forbidden('Maximum number of ports exceeded');
  return wanted.kind === 'port' ? claimExisting(trx, actor, wanted.portId, claim) : makeNew(trx, actor, wanted, claim);
}

/** The server does not have the port any more. */
export async function releasePort(trx: Db, serverId: string, portId: string): Promise<void> {
  await trx
    .deleteFrom('ports')
    .where('id', '=', portId)
    .where('device_id', '=', serverId)
    .where('by_user', '=', 0)
    .execute();
  await freePorts(trx, serverId, portId);
}

/** Nova's ExternalNetworkAttachForbidden; null: servers of the project may be on the network. */
export const networkOutside = (network: NetworkRecord, projectId: string) =>
  network.external && !isUsableBy(network, projectId)
    ? forbidden(`It is not allowed to create an interface on external network ${network.id}`)
    : null;

/** The same for servers of the port's project. */
export async function portOutside(
  db: Db,
  actor: Actor,
  port: Pick<PortRecord, 'networkId' | 'projectId'>,
): Promise<Refusal | null> {
  const network = await findNetwork(db, actor, port.networkId);
  return network && networkOutside(network, port.projectId);
}

/** The hosts' driver makes ordinary cards alone, and no card can have the address of a group; null: the port is for one. */
export function noSuchCard({ id, vnicType, mac }: Pick<PortRecord, 'id' | 'vnicType' | 'mac'>): Refusal | null {
  const has = vnicType === 'normal' ? isGroupMac(mac) && `mac_address ${mac}` : `binding:vnic_type ${vnicType}`;
  return has ? badRequest(`Port ${id} has ${has}: no host here can give a server such a network card.`) : null;
}

async function claimExisting(
  trx: Db,
  actor: Actor,
  portId: string,
  { serverId, projectId, tag, now, taken }: PortClaim,
): Promise<{ readonly portId: string } | Refusal> {
  if (taken) {
    const refusal = await recordLent(trx, taken, projectId, now);
    if (refusal) return refusal;
  }
  const port = await findPort(trx, actor, portId);
  if (!port) return notFound(`Port id ${portId} could not be found.`);
  if (port.projectId !== projectId) return badRequest(`Port ${portId} not usable for instance ${serverId}.`);
  const refusal = noSuchCard(port) ?? (await portOutside(trx, actor, port));
  if (refusal) return refusal;
  const claimed = await trx
    .updateTable('ports')
    .set({ device_id: serverId, device_owner: SERVERS, tag, attached_at: now, ...changed(now) })
    .where('id', '=', portId)
    .where('device_id', '=', '')
    .where('holder_id', '=', '')
    .returning('id')
    .executeTakeFirst();
  return claimed ? { portId } : conflict(`Port ${portId} is still in use.`);
}

/** A user's port that another service has lent is on record until it is given back there. */
async function recordLent(
  trx: Db,
  { id, name, networkId, mac, fixedIps }: TakenPort,
  projectId: string,
  now: number,
): Promise<Refusal | null> {
  const port = { id, name, projectId, networkId, mac, deviceId: '', deviceOwner: '', portSecurity: false, now };
  return refusalIn(await insertPort(trx, { ...port, byUser: true }, fixedIps.map(givenElsewhere)));
}

async function makeNew(
  trx: Db,
  actor: Actor,
  wanted: Extract<WantedPort, { kind: 'network' }>,
  claim: PortClaim,
): Promise<{ readonly portId: string } | Refusal> {
  const { serverId, projectId, tag, now, taken } = claim;
  const portId = taken?.id ?? claim.newPortId;
  const networkId = await networkForPort(trx, actor, projectId, taken?.networkId ?? wanted.networkId);
  if (typeof networkId !== 'string') return networkId;
  const refusal = await insertServersPort(trx, portId, {
    ...{ serverId, projectId, networkId, tag, now },
    ...(wanted.ip === null ? {} : { ip: wanted.ip }),
    ...(taken ? { taken } : {}),
  });
  if (refusal?.code !== 409) return refusal ?? { portId };
  return wanted.ip === null
    ? badRequest(`No fixed IP addresses available for network: ${networkId}`)
    : conflict(`Fixed IP address ${wanted.ip} is already in use on instance ${serverId}.`);
}

/** The network that a new port of a server of the project may be on; null: the only one that there is. */
export async function networkForPort(
  db: Db,
  actor: Actor,
  projectId: string,
  wanted: string | null,
): Promise<string | Refusal> {
  const networkId = wanted ?? (await onlyNetwork(db, actor, projectId));
  if (typeof networkId !== 'string') return networkId;
  const network = await findNetwork(db, ofProject(actor, projectId), networkId);
  if (!network) return notFound(`Network ${networkId} could not be found.`);
  return networkOutside(network, projectId) ?? networkId;
}

/** The network to take when none is named. */
async function onlyNetwork(trx: Db, actor: Actor, projectId: string): Promise<string | Refusal> {
  const seen = await listNetworks(trx, ofProject(actor, projectId), { limit: LOOKED_AT });
  const usable = seen.filter((each) => each.subnetIds.length > 0 && isUsableBy(each, projectId));
  const [only] = usable;
  if (!only) {
    return badRequest(`No specific network was requested and none are available for project '${projectId}'.`);
  }
  if (usable.length === 1) return only.id;
  return badRequest(
    'More than one possible network found. Specify network ID(s) to select which one(s) to connect to.',
  );
}

/** The network must be one of the server's project's, whoever asks. */
const ofProject = (actor: Actor, projectId: string): Actor => ({ ...actor, projectId, admin: false });
