// Where ports are beside the records here: nowhere, or in a Neutron.
//
// Theory of operation. The records of networks, subnets, ports and bindings are the ledger: sagas change them under their
// fences and in their transactions, and read them, whoever keeps the network. A service elsewhere is brought to what the
// ledger says behind each step that was done (moves/context.ts), so no step can forget it; `settle` is repeatable, looks
// first, and does what is missing.

import type { Refusal } from '../../model/types.ts';
import type { Platform } from '../platform.ts';
import type { FixedIp } from './addresses.ts';

/** A port that another service has made, for the ledger to take in. */
export interface TakenPort {
  readonly id: string;
  readonly mac: string;
  /** In the order of the service; at least one. */
  readonly fixedIps: readonly FixedIp[];
}

export type Taken =
  | {
      readonly kind: 'ok' /** One for each network; null: the ledger makes it itself. */;
      readonly ports: readonly (TakenPort | null)[];
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export interface PortsWish {
  readonly serverId: string;
  readonly projectId: string;
  readonly requestId: string;
  /** ip: the address to have; null: any. */
  readonly networks: readonly { readonly id: string; readonly ip: string | null }[];
}

export interface NetworkService {
  /** Networks and subnets are recorded as they are now. Answers the ids of those that may be used; null: all. */
  refresh(p: Platform): Promise<ReadonlySet<string> | null>;
  /** Ports for a server that is about to be recorded. What is not recorded within a few minutes is given back. */
  take(p: Platform, wish: PortsWish): Promise<Taken>;
  /** The server's ports are bound as the ledger says. @throws ServiceDown, and NeutronRefused */
  settle(p: Platform, serverId: string): Promise<void>;
  /** What could not be settled before is settled now, as far as it can be. */
  payOwed(p: Platform): Promise<void>;
}

const RECORDS_ALONE: NetworkService = {
  refresh: async () => null,
  take: async (_, { networks }) => ({ kind: 'ok', ports: networks.map(() => null) }),
  settle: async () => undefined,
  payOwed: async () => undefined,
};

export const networkService = (p: Platform): NetworkService => p.network ?? RECORDS_ALONE;
