// Placement arithmetic: inventories, claims, and allocations that pass from one consumer to another.
//
// Theory of operation. A ledger is an immutable value: providers with inventories, and for each consumer (a server or a
// migration) what it holds at which provider. Four operations make a new ledger or refuse: claim, move, release, and
// setInventories. A move passes everything a consumer holds to another consumer that holds nothing; so a consumer's
// allocations are never split, and moving back restores the ledger exactly. The store runs the same arithmetic in SQL
// under a provider's generation; this module is its reference and its property tests state the laws:
// usage = sum of what consumers hold, never above capacity through a claim, release gives back what claim took.
// Not handled, because nothing here needs it: min_unit, max_unit and step_size, traits, nested and sharing providers.
import { addResources, amountOf, isEmpty } from './resources.ts';
import type { Inventory, ResourceClass, Resources } from './types.ts';
import { RESOURCE_CLASSES } from './types.ts';

export type Inventories = Readonly<Partial<Record<ResourceClass, Inventory>>>;

/** What one consumer holds, by provider id. */
export type Holdings = ReadonlyMap<string, Resources>;

export interface Ledger {
  readonly providers: ReadonlyMap<string, Inventories>;
  /** By consumer id; a consumer that holds nothing is not in the map. */
  readonly consumers: ReadonlyMap<string, Holdings>;
}

export type LedgerResult =
  | { readonly kind: 'ok'; readonly ledger: Ledger }
  | { readonly kind: 'refused'; readonly reason: string };

export const EMPTY_LEDGER: Ledger = { providers: new Map(), consumers: new Map() };

/**
 * How much of a class may be allocated, in whole units: (total − reserved) × ratio, rounded down; never negative.
 * Source: Placement's capacity rule. A product that misses a whole number only by floating-point error counts as it.
 */
export function capacity(inventory: Inventory): number {
  const exact = (inventory.total - inventory.reserved) * inventory.allocationRatio;
  return Math.max(0, Math.floor(exact + 1e-6));
}

function classFits(inventories: Inventories, used: Resources, request: Resources, c: ResourceClass): boolean {
  const wanted = amountOf(request, c);
  if (wanted <= 0) return true;
  const inventory = inventories[c];
  return inventory !== undefined && amountOf(used, c) + wanted <= capacity(inventory);
}

/** True if `request` fits beside `used` in every class. A class without inventory never fits. */
export function fits(inventories: Inventories, used: Resources, request: Resources): boolean {
  for (const c of RESOURCE_CLASSES) if (!classFits(inventories, used, request, c)) return false;
  return true;
}

/** The classes of `request` that do not fit beside `used`; empty when all fit. */
export function shortages(inventories: Inventories, used: Resources, request: Resources): readonly ResourceClass[] {
  return RESOURCE_CLASSES.filter((c) => !classFits(inventories, used, request, c));
}

/** What all consumers together hold at a provider. */
export function usageOf(ledger: Ledger, providerId: string): Resources {
  let sum: Resources = {};
  for (const holdings of ledger.consumers.values()) {
    const held = holdings.get(providerId);
    if (held !== undefined) sum = addResources(sum, held);
  }
  return sum;
}

/** What a consumer holds, by provider; empty when it holds nothing. */
export function holdingsOf(ledger: Ledger, consumerId: string): Holdings {
  return ledger.consumers.get(consumerId) ?? new Map();
}

const refused = (reason: string): LedgerResult => ({ kind: 'refused', reason });

function withConsumer(ledger: Ledger, consumerId: string, holdings: Holdings): Ledger {
  const consumers = new Map(ledger.consumers);
  if (holdings.size === 0) consumers.delete(consumerId);
  else consumers.set(consumerId, holdings);
  return { providers: ledger.providers, consumers };
}

/** Adds a provider or replaces its inventories. Usage may then exceed capacity: that stops claims, it evicts nobody. */
export function setInventories(ledger: Ledger, providerId: string, inventories: Inventories): Ledger {
  return { providers: new Map(ledger.providers).set(providerId, inventories), consumers: ledger.consumers };
}

/**
 * Gives `request` at a provider to a consumer that holds nothing there yet. Claiming the same again is refused: who
 * repeats a step looks first at what the consumer holds.
 */
export function claim(ledger: Ledger, consumerId: string, providerId: string, request: Resources): LedgerResult {
  const inventories = ledger.providers.get(providerId);
  if (inventories === undefined) return refused(`no such provider: ${providerId}`);
  if (isEmpty(request)) return refused('a claim of nothing');
  const holdings = holdingsOf(ledger, consumerId);
  if (holdings.has(providerId)) return refused(`${consumerId} already holds an allocation at ${providerId}`);
  const short = shortages(inventories, usageOf(ledger, providerId), request);
  if (short.length > 0) return refused(`not enough ${short.join(', ')} at ${providerId}`);
  return { kind: 'ok', ledger: withConsumer(ledger, consumerId, new Map(holdings).set(providerId, request)) };
}

/**
 * Passes all that `from` holds to `to`, which must hold nothing. Usage of no provider changes, so it needs no room and
 * cannot fail for want of it. Moving back is the exact undo.
 */
export function moveAllocations(ledger: Ledger, from: string, to: string): LedgerResult {
  const holdings = ledger.consumers.get(from);
  if (holdings === undefined) return refused(`${from} holds nothing`);
  if (from === to || ledger.consumers.has(to)) return refused(`${to} already holds allocations`);
  return { kind: 'ok', ledger: withConsumer(withConsumer(ledger, from, new Map()), to, holdings) };
}

/** Takes back what a consumer holds: at one provider, or everywhere. Holding nothing is fine: release is repeatable. */
export function release(ledger: Ledger, consumerId: string, providerId?: string): Ledger {
  if (providerId === undefined) return withConsumer(ledger, consumerId, new Map());
  const holdings = new Map(holdingsOf(ledger, consumerId));
  holdings.delete(providerId);
  return withConsumer(ledger, consumerId, holdings);
}
