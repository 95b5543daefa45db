// Where ports are beside the records here: nowhere, or in a Neutron.
//
// Theory of operation. The records of networks, subnets, ports and bindings are the ledger: sagas change them under their
// fences and in their transactions, and read them, whoever keeps the network. A service elsewhere is brought to what the
// ledger says behind each step that was done (moves/context.ts), so no step can forget it; `settle` is repeatable, looks
// first, and does what is missing.
// What a request needs of a service elsewhere before it can write the ledger (new ports, a user's port) it takes there
// under an id of its own: `take`, then `claimed` in the transaction that puts it on record, then `giveUp`, which gives
// back what is not on record. Who dies in between has taken it for some minutes.

import type { Actor, Refusal } from '../../model/types.ts';
import type { Platform } from '../platform.ts';
import type { FixedIp } from './addresses.ts';
import { updatePort } from './port-update.ts';
import { findPort } from './ports.ts';
import { refusalIn } from './results.ts';
import type { RuleRecord } from './security-group-rules.ts';
import type { GroupRecord } from './security-groups.ts';
import {
  addGroupToServer,
  groupNamesOfServers,
  groupsForServer,
  groupsOfServer,
  removeGroupFromServer,
} from './server-networks.ts';
import type { Db } from './standard.ts';

/** A port of another service that is a server's there, for the ledger to take in. */
export interface TakenPort {
  readonly id: string;
  readonly networkId: string;
  readonly mac: string;
  readonly name: string;
  /** At least one; those that a guest can be told come first. */
  readonly fixedIps: readonly FixedIp[];
}

export type Taken =
  | {
      readonly kind: 'ok';
      /** One for each that was wished for; null: the ledger has or makes it itself. */
      readonly ports: readonly (TakenPort | null)[];
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/**
 * A port of a user's, or a new one: on which network (null: the only one that there is), with which address (null: any)
 * and which security groups (null: the default one).
 */
export type PortWish =
  | { readonly kind: 'port'; readonly portId: string }
  | {
      readonly kind: 'network';
      readonly networkId: string | null;
      readonly ip: string | null;
      readonly groupIds: readonly string[] | null;
    };

export interface Taking {
  /** Of this taking alone: a UUID. */
  readonly takeId: string;
  readonly serverId: string;
  readonly projectId: string;
}

export interface PortsWish extends Taking {
  readonly actor: Actor;
  readonly ports: readonly PortWish[];
}

/** A port that a user may name. */
export interface NamedPort {
  readonly id: string;
  readonly projectId: string;
  readonly networkId: string;
  /** '': nobody has it. */
  readonly deviceId: string;
  readonly fixedIps: readonly FixedIp[];
}

/** A security group as compute shows it. */
export type ShownGroup = Pick<GroupRecord, 'id' | 'name' | 'description' | 'projectId'> & {
  readonly rules: readonly ShownRule[];
};
export type ShownRule = Pick<
  RuleRecord,
  'id' | 'groupId' | 'direction' | 'protocol' | 'portMin' | 'portMax' | 'remoteGroupId' | 'remotePrefix'
>;

/** The security groups of a server, once for each port that has it, and those that their rules name besides. */
export interface ServersGroups {
  readonly groups: readonly ShownGroup[];
  readonly named: readonly ShownGroup[];
}

/** An address to have, or any of the subnet. */
export interface AddressWish {
  readonly subnetId: string;
  readonly ip?: string;
}

export interface NetworkService {
  /** Networks and subnets are recorded as they are now. Answers the ids of those that may be used; null: all. */
  refresh(p: Platform): Promise<ReadonlySet<string> | null>;
  /** The port as it is now, when the actor may see it. */
  port(p: Platform, actor: Actor, portId: string): Promise<NamedPort | null>;
  /** Ports for a server, which it has there from now on. Refused: what was taken before that is still to be given up. */
  take(p: Platform, wish: PortsWish): Promise<Taken>;
  /** What was taken is on record when the transaction ends. */
  claimed(trx: Db, taking: Taking): Promise<void>;
  /** What was taken and is not on record is given back, now or when it can be. */
  giveUp(p: Platform, taking: Taking): Promise<void>;
  /** The server's ports are on record with the addresses that they have now, if that can be told. */
  look(p: Platform, serverId: string): Promise<void>;
  /** The port of a server has these addresses and no others. */
  readdress(p: Platform, actor: Actor, portId: string, wishes: readonly AddressWish[]): Promise<Refusal | null>;
  /** Ids of security groups of the actor's project, by names or ids, for a new server. */
  groupsNamed(p: Platform, actor: Actor, names: readonly string[]): Promise<readonly string[] | Refusal>;
  /** Names of the groups of each server's ports, once per port that has it; of nameless ones the id. */
  groupNames(p: Platform, actor: Actor, serverIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
  groupsOf(p: Platform, actor: Actor, serverId: string): Promise<ServersGroups>;
  /** Every port of the server has the group of the actor's project, or none has it any more. */
  addGroup(p: Platform, actor: Actor, serverId: string, name: string): Promise<Refusal | null>;
  removeGroup(p: Platform, actor: Actor, serverId: string, name: string): Promise<Refusal | null>;
  /** The server's ports are bound as the ledger says. @throws ServiceDown, and NeutronRefused */
  settle(p: Platform, serverId: string): Promise<void>;
  /** What could not be settled before is settled now, as far as it can be. */
  payOwed(p: Platform): Promise<void>;
}

const RECORDS_ALONE: NetworkService = {
  refresh: async () => null,
  port: (p, actor, portId) => findPort(p.stores.global, actor, portId),
  take: async (_, { ports }) => ({ kind: 'ok', ports: ports.map(() => null) }),
  claimed: async () => undefined,
  giveUp: async () => undefined,
  look: async () => undefined,
  readdress: async (p, actor, portId, fixedIps) =>
    refusalIn(await updatePort(p.stores.global, actor, portId, { fixedIps, now: p.clock.now() })),
  groupsNamed: (p, { projectId }, names) => groupsForServer(p.stores.global, projectId, names, p.clock.now()),
  groupNames: (p, _, serverIds) => groupNamesOfServers(p.stores.global, serverIds),
  groupsOf: (p, actor, serverId) => groupsOfServer(p.stores.global, actor, serverId),
  addGroup: (p, actor, id, name) => addGroupToServer(p.stores.global, actor, id, name, p.clock.now()),
  removeGroup: (p, actor, id, name) => removeGroupFromServer(p.stores.global, actor, id, name, p.clock.now()),
  settle: async () => undefined,
  payOwed: async () => undefined,
};

export const networkService = (p: Platform): NetworkService => p.network ?? RECORDS_ALONE;
