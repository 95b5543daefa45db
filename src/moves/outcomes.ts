// Short words for what a step comes to.
import type { Transaction } from 'kysely';
import type { GlobalTables } from '../store/global-schema.ts';
import { globally } from './fencing.ts';
import type { StepContext } from './move.ts';

export const done = { kind: 'done' } as const;
export const doneBecause = (note: string) => ({ kind: 'done', note }) as const;
/** Of the undo of a pivot that has happened and cannot, or need not, be taken back. */
export const LANDED = { kind: 'landed' } as const;
/** What a fenced call of the network service comes to. */
export const unlessFenced = (result: 'ok' | 'fenced') => (result === 'ok' ? done : ({ kind: 'fenced' } as const));

/** A fenced transaction on the global database that is the whole step. */
export async function inGlobal<S>(c: StepContext<S>, work: (trx: Transaction<GlobalTables>) => Promise<unknown>) {
  await globally(c.p.stores.global, c, work);
  return done;
}
