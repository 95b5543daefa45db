// Debts: guests that should be gone from a host that could not be reached. One row each, at most one open per host and
// server; paid when the host answers that the guest is gone. A debt carries the generation at which it was made: if the
// server has lawfully come back to that host since, the host refuses it as fenced and the debt is void, which is paid.

import { assertNever } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import type { Platform } from './platform.ts';

export interface Debt {
  readonly id: string;
  readonly host: string;
  readonly serverId: string;
  readonly generation: number;
  readonly sagaId: string;
  readonly reason: string;
  readonly attempts: number;
  readonly createdAt: number;
  readonly dueAt: number;
}

const RETRY_MS = 10_000;
const PAGE = 100;

/** Puts the clean-up on record; harmless when it already is. */
export async function owe(
  p: Platform,
  debt: {
    readonly host: string;
    readonly serverId: string;
    readonly generation: number;
    readonly sagaId: string;
    readonly reason: string;
  },
): Promise<void> {
  const now = p.clock.now();
  await p.stores.global.transaction().execute(async (trx) => {
    const open = await trx
      .updateTable('debts')
      .set({ generation: debt.generation })
      .where('host', '=', debt.host)
      .where('server_id', '=', debt.serverId)
      .where('paid_at', 'is', null)
      .executeTakeFirst();
    if (open.numUpdatedRows > 0n) return;
    await trx
      .insertInto('debts')
      .values({
        id: newId(),
        kind: 'destroy-guest',
        host: debt.host,
        server_id: debt.serverId,
        generation: debt.generation,
        saga_id: debt.sagaId,
        reason: debt.reason,
        attempts: 0,
        due_at: now + RETRY_MS,
        created_at: now,
        paid_at: null,
      })
      .execute();
  });
  p.log.warn({ host: debt.host, server: debt.serverId, saga: debt.sagaId }, `owed: ${debt.reason}`);
}

/** Open debts, oldest first. */
export async function openDebts(p: Platform, limit = PAGE): Promise<Debt[]> {
  const rows = await p.stores.global
    .selectFrom('debts')
    .selectAll()
    .where('paid_at', 'is', null)
    .orderBy('created_at')
    .limit(limit)
    .execute();
  return rows.map((row) => ({
    id: row.id,
    host: row.host,
    serverId: row.server_id,
    generation: row.generation,
    sagaId: row.saga_id,
    reason: row.reason,
    attempts: row.attempts,
    createdAt: row.created_at,
    dueAt: row.due_at,
  }));
}

/** Tries to pay what is due; at most a page in one call. Returns how many were paid. */
export async function payDebts(p: Platform): Promise<number> {
  const now = p.clock.now();
  let paid = 0;
  for (const debt of await openDebts(p)) {
    if (debt.dueAt > now) continue;
    const host = await p.host(debt.host);
    const reply = await host.destroy(debt.serverId, { generation: debt.generation });
    let settled: boolean;
    switch (reply.kind) {
      case 'ok':
        settled = reply.value.state === 'done';
        break;
      case 'fenced':
      case 'absent':
        settled = true;
        break;
      case 'refused':
      case 'unreachable':
        settled = false;
        break;
      default:
        assertNever(reply);
    }
    await p.stores.global
      .updateTable('debts')
      .set(settled ? { paid_at: p.clock.now() } : { attempts: debt.attempts + 1, due_at: p.clock.now() + RETRY_MS })
      .where('id', '=', debt.id)
      .execute();
    if (settled) {
      paid += 1;
      p.log.info({ host: debt.host, server: debt.serverId }, 'debt paid');
    }
  }
  return paid;
}
