// Fetches what a failure card is made of: the places' names, and what is owed by this saga or for its server.
import type { Platform } from '../control/platform.ts';
import type { Row } from '../saga/types.ts';
import type { Tried } from './alternates.ts';
import { type FailureCard, failureCard, type Owed } from './failure-card.ts';
import { placeIn, placeOf } from './places.ts';
import { findDefinition } from './registry.ts';
import { findSaga } from './view.ts';

const MOST_DEBTS = 100;

/** The move's failure card; null when there is no such move, or when nothing is wrong with it. */
export async function failureOf(p: Platform, id: string): Promise<FailureCard | null> {
  const row = await findSaga(p, id);
  if (row === null) return null;
  const cells = new Map(
    (await p.stores.global.selectFrom('cells').select(['id', 'name']).execute()).map((cell) => [cell.id, cell.name]),
  );
  const cellOfHost = await cellsOfHosts(p, row);
  return failureCard({
    row,
    definition: findDefinition(row.definition, row.version),
    owed: await owedBy(p, row, cells),
    tried: triedOf(row).map(({ host, cellId, reason }) => ({ host, cell: cells.get(cellId) ?? null, reason })),
    where: (step, reason) => {
      const place = placeIn(reason) ?? placeOf(row.definition, step, row.state);
      const cellId = place?.cellId ?? cellOfHost.get(place?.host ?? '') ?? '';
      return { host: place?.host ?? null, cell: cells.get(cellId) ?? null };
    },
  });
}

const triedOf = (row: Row): readonly Tried[] => (row.state as { readonly tried?: readonly Tried[] }).tried ?? [];

async function cellsOfHosts(p: Platform, row: Row): Promise<ReadonlyMap<string, string>> {
  const places = row.journal.flatMap(({ step, note = '' }) => [
    placeIn(note),
    placeOf(row.definition, step, row.state),
  ]);
  const names = [...new Set(places.flatMap((place) => place?.host ?? []))];
  if (names.length === 0) return new Map();
  const rows = await p.stores.global
    .selectFrom('hosts')
    .select(['name', 'cell_id'])
    .where('name', 'in', names)
    .execute();
  return new Map(rows.map((host) => [host.name, host.cell_id]));
}

async function owedBy(p: Platform, row: Row, cells: ReadonlyMap<string, string>): Promise<Owed[]> {
  const debts = await p.stores.global
    .selectFrom('debts')
    .selectAll()
    .where('paid_at', 'is', null)
    .where((eb) => eb.or([eb('saga_id', '=', row.id), eb('server_id', '=', row.key)]))
    .orderBy('created_at')
    .limit(MOST_DEBTS)
    .execute();
  return debts.map((debt) => ({
    id: debt.id,
    kind: debt.kind,
    where: debt.kind === 'drop-records' ? (cells.get(debt.host) ?? debt.host) : debt.host,
    reason: debt.reason,
    attempts: debt.attempts,
    lastError: debt.last_error,
    since: debt.created_at,
  }));
}
