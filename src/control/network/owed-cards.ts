// What a user's change of a port means to the guest that has its card: the guest is made to match the records.
//
// The change of the records and the debt (debts.ts, match-devices) are one transaction, so that an address which is free
// again for others does not stay with a guest for good. It is owed for each host that has a binding: during a move, and
// while a resize waits, both have a guest. A saga that is at the server goes first; the debt waits for it. Bindings do not
// change until the transaction ends.

import type { Kysely } from 'kysely';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { nextFence } from '../../store/sagas.ts';
import { portsLock } from '../network.ts';
import { oweWithin } from '../owing.ts';

/** Of a port as it is before the change; nothing is owed when no server has it. `now`: milliseconds since the epoch. */
export async function oweCards(
  trx: Kysely<GlobalTables>,
  port: { readonly id: string; readonly serverId: string },
  reason: string,
  now: number,
): Promise<void> {
  const { id, serverId } = port;
  if (serverId === '') return;
  await exclusively(trx, portsLock(serverId));
  const bindings = await trx.selectFrom('port_bindings').select('host').where('port_id', '=', id).execute();
  for (const { host } of bindings) {
    const generation = await nextFence(trx);
    await oweWithin(trx, { kind: 'match-devices', host, serverId, generation, sagaId: 'network', reason }, now);
  }
}
