// How a host is forgotten: its room, its zone and its record go.
//
// One that holds a server, or to which a move may go back, or that a saga has to do with, is never forgotten. One on which
// something of ours waits to be cleaned away is kept until that is done, unless an operator says that it will never return
// (`forgetHost`): then what is owed there and what is kept there in quarantine is written off with it. A debt that
// somebody writes behind that is void (debts.ts). Should the host return after all, it is registered anew when the control plane starts next; what its
// guests are is told by the comparison with the records, which turns off and keeps whatever is nobody's.
import type { Kysely, Transaction } from 'kysely';
import type { Actor, Refusal } from '../model/types.ts';
import { exclusively } from '../store/dialect.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { OPEN_STATUSES } from '../store/sagas.ts';
import { hostAnswers } from './hosts.ts';
import { HOST_DEBTS } from './owing.ts';
import type { Platform } from './platform.ts';
import { isThere } from './quarantine.ts';

/** What was to be done on a host: how many clean-ups were owed, and how many guests were kept in quarantine. */
export interface Left {
  readonly debts: number;
  readonly quarantined: number;
}

type Removal =
  | { readonly kind: 'removed'; readonly left: Left }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const refused = (code: 404 | 409, message: string): Removal => ({ kind: 'refused', refusal: { code, message } });

/** Forgets a host that holds nothing; null: done. @param id of the host */
export async function deleteHost(p: Platform, id: string): Promise<Refusal | null> {
  const host = await hostBy(p, 'id', id);
  if (!host) return { code: 404, message: `Service ${id} not found.` };
  const removal = await remove(p, host, false);
  return removal.kind === 'refused' ? removal.refusal : null;
}

/** Forgets a host that will never return, with all that is owed and kept there. 409 while it answers or holds a server. */
export async function forgetHost(p: Platform, actor: Actor, name: string): Promise<Removal> {
  const host = await hostBy(p, 'name', name);
  if (!host) return refused(404, `Compute host ${name} could not be found.`);
  if (await hostAnswers(p, name)) return refused(409, `Compute host ${name} answers: it is there.`);
  const removal = await remove(p, host, true);
  if (removal.kind === 'removed') p.log.warn({ host: name, by: actor.userId, ...removal.left }, 'host forgotten');
  return removal;
}

interface KnownHost {
  readonly id: string;
  readonly name: string;
  readonly cell_id: string;
}

const hostBy = (p: Platform, column: 'id' | 'name', value: string): Promise<KnownHost | undefined> =>
  p.stores.global.selectFrom('hosts').select(['id', 'name', 'cell_id']).where(column, '=', value).executeTakeFirst();

async function remove(p: Platform, host: KnownHost, writeOff: boolean): Promise<Removal> {
  const cell = await p.stores.cell(host.cell_id);
  const resident = await cell
    .selectFrom('servers')
    .select('id')
    .where('host', '=', host.name)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return p.stores.global.transaction().execute(async (trx): Promise<Removal> => {
    // Whoever claims room on it meanwhile meets the foreign key of its provider, or is seen here.
    await exclusively(trx, 'hosts');
    const holds = await trx
      .selectFrom('allocations')
      .select('consumer_id')
      .where('provider_id', '=', host.id)
      .executeTakeFirst();
    if (resident || holds) return refused(409, HOSTS_SERVERS);
    if (await isNamedBySaga(trx, host.name)) return refused(409, worked(host.name));
    const left = await leftOn(trx, host.name);
    if (!writeOff && left.debts + left.quarantined > 0) return refused(409, owes(host.name, left));
    await writeOffAt(trx, host.name, p.clock.now());
    await trx.deleteFrom('aggregate_hosts').where('host', '=', host.name).execute();
    await trx.deleteFrom('providers').where('id', '=', host.id).execute();
    await trx.deleteFrom('hosts').where('id', '=', host.id).execute();
    return { kind: 'removed', left };
  });
}

const HOSTS_SERVERS =
  'Unable to delete compute service that is hosting instances. Migrate or delete the instances first.';

const owes = (name: string, { debts, quarantined }: Left): string =>
  `Unable to delete compute service: on its host clean-ups are owed (${debts}), or guests in quarantine (${quarantined}). ` +
  `What is owed is done when it answers, and quarantine is for an operator to clear. If it will never return: crosscell hosts forget ${name}`;

const worked = (name: string): string =>
  `Unable to delete compute service: an operation that is under way, or stuck, has to do with host ${name}.`;

/** Whether a saga that has not ended has the host's name in its state: it may have given up its room and not its guest. */
async function isNamedBySaga(trx: Transaction<GlobalTables>, name: string): Promise<boolean> {
  const open = await trx.selectFrom('sagas').select('state_json').where('status', 'in', OPEN_STATUSES).execute();
  return open.some((saga) => saga.state_json.includes(JSON.stringify(name)));
}

async function leftOn(db: Kysely<GlobalTables>, name: string): Promise<Left> {
  const debts = await db
    .selectFrom('debts')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('kind', 'in', HOST_DEBTS)
    .where('host', '=', name)
    .where('paid_at', 'is', null)
    .executeTakeFirstOrThrow();
  const kept = await db
    .selectFrom('quarantine')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    // A storage host may have the name of a host.
    .where('kind', '<>', 'volume')
    .where('host', '=', name)
    .where('ended_at', 'is', null)
    .executeTakeFirstOrThrow();
  return { debts: Number(debts.n), quarantined: Number(kept.n) };
}

/** Also what was released and left alone there: no server's way is barred by a host that is not known. */
async function writeOffAt(trx: Transaction<GlobalTables>, name: string, now: number): Promise<void> {
  await trx
    .updateTable('debts')
    .set({ paid_at: now })
    .where('kind', 'in', HOST_DEBTS)
    .where('host', '=', name)
    .where('paid_at', 'is', null)
    .execute();
  await trx
    .updateTable('quarantine')
    .set({ ended_at: now, outcome: 'lost' })
    .where('kind', '<>', 'volume')
    .where('host', '=', name)
    .where(isThere)
    .execute();
}
