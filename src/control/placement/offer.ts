// Which hosts a Placement offers for a request: GET /allocation_candidates with the resources and the traits.
//
// Of the traits that a flavor (`trait:NAME`) or an image (the same as property) asks for Placement alone knows which host
// has them; operators give them there.
import type { CandidatesWish, Placement } from '../../openstack/placement.ts';
import type { Platform } from '../platform.ts';
import { DISABLED, OURS } from './providers.ts';
import type { Offer, OfferWish } from './service.ts';

/** Most hosts that are asked for, as Nova does (max_placement_results); a host that is named is always among them. */
const LIMIT = 1000;

export async function offerOf(p: Platform, placement: Placement, wish: OfferWish): Promise<Offer> {
  const { requestedHost } = wish;
  const host =
    requestedHost === null
      ? undefined
      : await p.stores.global.selectFrom('hosts').select('id').where('name', '=', requestedHost).executeTakeFirst();
  const said = await placement.candidates(candidatesWish(wish, host?.id ?? null));
  if (said.kind === 'ok') return { kind: 'hosts', ids: said.body };
  return { kind: 'none', reason: `No valid host was found. Placement refuses the request: ${said.message}` };
}

/** Pure. */
const candidatesWish = (wish: OfferWish, only: string | null): CandidatesWish => ({
  ...{ resources: wish.resources, only, limit: LIMIT },
  traits: [...new Set([OURS, `!${DISABLED}`, ...traitsIn(wish.extraSpecs), ...traitsIn(wish.imageProperties)])],
});

/** `trait:NAME` with `required` or `forbidden`; others are nothing that is asked for. */
const traitsIn = (specs: Readonly<Record<string, string>>): string[] =>
  Object.entries(specs).flatMap(([key, value]) => {
    const name = /^trait:([A-Z0-9_]{1,255})$/.exec(key)?.[1];
    if (name === undefined) return [];
    return value === 'required' ? [name] : value === 'forbidden' ? [`!${name}`] : [];
  });
