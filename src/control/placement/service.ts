// Where allocations are beside the records here: nowhere, or in a Placement.
//
// Theory of operation. The records of providers, inventories, consumers and allocations are the ledger: sagas change them
// under their fences and in their transactions, whoever keeps placement. A Placement is asked which hosts may be chosen,
// and for the room before the ledger is (`take`); of all else it is brought to what the ledger says behind each step that
// was done (moves/context.ts), so no step can forget it.
import type { Resources } from '../../model/types.ts';
import type { Consumer } from '../placement.ts';
import type { Platform } from '../platform.ts';

export interface OfferWish {
  readonly resources: Resources;
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly imageProperties: Readonly<Record<string, string>>;
  /** Host that alone counts; null: any. */
  readonly requestedHost: string | null;
}

export type Offer =
  | { readonly kind: 'hosts' /** Ids; null: all. */; readonly ids: readonly string[] | null }
  | { readonly kind: 'none'; readonly reason: string };

export interface PlacementService {
  /** Hosts that have room for it. @throws ServiceDown */
  offer(p: Platform, wish: OfferWish): Promise<Offer>;
  /**
   * Room for a consumer who is about to claim it in the ledger and holds nothing else there. False: there is none.
   * @throws ServiceDown
   */
  take(p: Platform, consumer: Consumer, providerId: string, resources: Resources): Promise<boolean>;
  /** What was taken and not claimed after all is given back; what cannot be given back now is owed. */
  giveBack(p: Platform, serverId: string): Promise<void>;
  /** The server's allocations are as the ledger says, in one transaction. @throws ServiceDown, PlacementRefused */
  settle(p: Platform, serverId: string): Promise<void>;
  /** Hosts are providers there, and those that are forgotten are not. @throws ServiceDown */
  settleProviders(p: Platform): Promise<void>;
  /** What could not be settled before is settled now, as far as it can be. @throws ServiceDown */
  payOwed(p: Platform): Promise<void>;
}

const LEDGER_ALONE: PlacementService = {
  offer: async () => ({ kind: 'hosts', ids: null }),
  take: async () => true,
  giveBack: async () => undefined,
  settle: async () => undefined,
  settleProviders: async () => undefined,
  payOwed: async () => undefined,
};

export const placementService = (p: Platform): PlacementService => p.placement ?? LEDGER_ALONE;
