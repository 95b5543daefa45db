// The writing of debts (debts.ts): a row that says what is to be cleaned up, in a transaction of whoever finds that it is.
//
// At most one is open per kind, place, server and volume (and saga, if it is about what a saga kept); an advisory lock per
// server orders those who write one. Who owes what is owed already raises the generation: whoever pays the debt at that
// moment, having looked before, does not close it.
import type { Kysely } from 'kysely';
import { newId } from '../lib/ids.ts';
import { exclusively } from '../store/dialect.ts';
import type { GlobalTables } from '../store/global-schema.ts';

export const DEBT_KINDS = [
  ...(['destroy-guest', 'drop-snapshot', 'drop-records', 'match-devices', 'revoke-volume', 'delete-volume'] as const),
  ...(['match-guest', 'drop-spare', 'drop-kept-content', 'restore-volume'] as const),
  ...(['destroy-remains', 'delete-remains'] as const),
] as const;
export type DebtKind = (typeof DEBT_KINDS)[number];

/** Where it is owed: what `host` is the name of (of a cell: the id), and who has to answer. */
export const OWED_AT: Readonly<Record<DebtKind, 'host' | 'storage host' | 'cell'>> = {
  'destroy-guest': 'host',
  'destroy-remains': 'host',
  'drop-snapshot': 'host',
  'match-devices': 'host',
  'match-guest': 'host',
  'drop-spare': 'host',
  'drop-records': 'cell',
  'revoke-volume': 'storage host',
  'delete-volume': 'storage host',
  'delete-remains': 'storage host',
  'drop-kept-content': 'storage host',
  'restore-volume': 'storage host',
};
export const HOST_DEBTS: readonly DebtKind[] = DEBT_KINDS.filter((kind) => OWED_AT[kind] === 'host');
export const STORAGE_DEBTS: readonly DebtKind[] = DEBT_KINDS.filter((kind) => OWED_AT[kind] === 'storage host');

/** About the snapshot of a volume that its saga kept, which has the saga's name: one more is another debt. */
export const KEPT_CONTENT = ['drop-kept-content', 'restore-volume'] as const satisfies readonly DebtKind[];

/** A clean-up to be put on record; for the fields see Debt (debts.ts). */
export interface Owed {
  readonly kind: DebtKind;
  readonly host: string;
  readonly serverId: string;
  readonly volumeId?: string;
  readonly generation: number;
  readonly sagaId: string;
  readonly reason: string;
  /** It is not tried before, ms; absent: RETRY_MS. */
  readonly restsMs?: number;
}

/** How long after it was made, and after each attempt, a debt is tried. */
export const RETRY_MS = 10_000;

/** Puts the clean-up on record with the transaction; harmless when it already is. `now`: milliseconds since the epoch. */
export async function oweWithin(trx: Kysely<GlobalTables>, debt: Owed, now: number): Promise<void> {
  const volumeId = debt.volumeId ?? null;
  await exclusively(trx, `debts of ${debt.serverId}`);
  const open = await trx
    .updateTable('debts')
    // Never lowered: the host would refuse the older generation, and the debt would pass for paid.
    .set((eb) => ({
      generation: eb
        .case()
        .when('generation', '<', debt.generation)
        .then(debt.generation)
        .else(eb.ref('generation'))
        .end(),
    }))
    .where('kind', '=', debt.kind)
    .where('host', '=', debt.host)
    .where('server_id', '=', debt.serverId)
    .where('volume_id', volumeId === null ? 'is' : '=', volumeId)
    .$if(
      KEPT_CONTENT.some((kind) => kind === debt.kind),
      (same) => same.where('saga_id', '=', debt.sagaId),
    )
    .where('paid_at', 'is', null)
    .executeTakeFirst();
  if (open.numUpdatedRows > 0n) return;
  await trx
    .insertInto('debts')
    .values({
      ...{ id: newId(), kind: debt.kind, host: debt.host, server_id: debt.serverId, volume_id: volumeId },
      ...{ generation: debt.generation, saga_id: debt.sagaId, reason: debt.reason, attempts: 0, last_error: null },
      ...{ due_at: now + (debt.restsMs ?? RETRY_MS), created_at: now, paid_at: null },
    })
    .execute();
}
