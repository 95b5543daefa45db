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
import { findPort } from './ports.ts';
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
  settle: async () => undefined,
  payOwed: async () => undefined,
};

export const networkService = (p: Platform): NetworkService => p.network ?? RECORDS_ALONE;
