// The conductor of this process: drives sagas with the effects of the moves.
//
// A takeover raises the generation at every party before the first effect: in both cells' databases, at both hosts, at the
// ports and at the storage hosts of the server's volumes; for what is done to a volume itself, at its storage host. The
// home's database must be reached for that, or the saga is left for later. Another cell or a host that cannot be reached
// is fenced by the first effect that does reach it, for the step at the cursor is the only one that the conductor before
// can still be at.
import { fencePorts } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import { storageHostsOf } from '../control/volumes/attachments.ts';
import { findVolume } from '../control/volumes/records.ts';
import { messageOf } from '../lib/errors.ts';
import { type Effects, type RunningDriver, startDriver } from '../saga/driver.ts';
import type { Row } from '../saga/types.ts';
import { raiseInCell } from '../store/cell-fences.ts';
import { sqlSagaStore } from '../store/sagas.ts';
import { CellDown } from '../store/stores.ts';
import { contextOf, outcomeOf } from './context.ts';
import { startRequestedDeletes } from './delete.ts';
import type { AnyMove } from './move.ts';
import { findDefinition, REGISTRY, type Registry } from './registry.ts';
import { startDueOffloads } from './shelve.ts';
import { startRequestedSoftDeletes } from './soft-delete.ts';

export interface ConductorOptions {
  readonly owner: string;
  readonly lanes: number;
  readonly leaseMs: number;
  readonly idleMs: number;
}

export const startConductor = (p: Platform, options: ConductorOptions): RunningDriver =>
  startDriver({
    store: sqlSagaStore(p.stores.global, p.clock),
    effects: moveEffects(p),
    definitions: findDefinition,
    clock: p.clock,
    ...options,
  });

/** The effects of all moves, for a driver or a simulation. */
export function moveEffects(p: Platform, { findMove }: Registry = REGISTRY): Effects {
  return {
    async run(row, step, direction) {
      const c = contextOf(p, row);
      const started = p.clock.now();
      const outcome = await outcomeOf(p, row, findMove(row.definition, row.version), step.name, direction);
      if (outcome.kind !== 'pending') {
        const detail = outcome.kind === 'failed' ? { reason: outcome.reason } : {};
        const line = {
          move: row.definition,
          step: step.name,
          direction,
          outcome: outcome.kind,
          ms: p.clock.now() - started,
          ...detail,
        };
        c.log[outcome.kind === 'failed' ? 'warn' : 'info'](line, `${direction} ${step.name}: ${outcome.kind}`);
      }
      return outcome;
    },

    raise: async (row) => {
      const move = findMove(row.definition, row.version);
      if (move.definition.subject === 'volume') await raiseAtVolume(p, row);
      else await raiseAroundServer(p, row, move);
      p.log.info({ sagaId: row.id, move: row.definition, generation: row.fence }, 'saga taken over');
    },

    async ended(row) {
      p.log.info(
        {
          sagaId: row.id,
          serverId: row.key,
          requestId: row.requestId,
          move: row.definition,
          status: row.status,
          reason: row.reason,
        },
        `${row.definition}: ${row.status}`,
      );
      await p.imageMirror?.settle(p);
      await startRequestedDeletes(p, row.key);
      await startRequestedSoftDeletes(p, row.key);
      await startDueOffloads(p, row.key);
    },

    unexpected(row, what, error) {
      p.log.error(
        { err: error, ...(row ? { sagaId: row.id, serverId: row.key } : {}) },
        `${what}: ${messageOf(error)}`,
      );
    },
  };
}

/** One that is not on record any more is at the last step of its saga, which changes records alone. */
async function raiseAtVolume(p: Platform, row: Row): Promise<void> {
  const c = contextOf(p, row);
  const volume = await findVolume(p.stores.global, row.key);
  if (volume === null) return;
  const storage = await c.storage(volume.storageHost);
  const reply = await storage.fenceVolume(volume.id, { generation: row.fence });
  if (reply.kind !== 'ok') c.log.warn({ storageHost: volume.storageHost, reply }, 'not fenced at takeover');
}

async function raiseAroundServer(p: Platform, row: Row, move: AnyMove): Promise<void> {
  const c = contextOf(p, row);
  const hosts = [...new Set(move.parties(row.state))];
  const { home, others } = await cellsOf(p, row.key, hosts);
  if (home !== null) await raiseInCell(await p.stores.cell(home), c.serverId, c.generation);
  for (const cellId of others) {
    try {
      await raiseInCell(await p.stores.cell(cellId), c.serverId, c.generation);
    } catch (error) {
      if (!(error instanceof CellDown)) throw error;
      c.log.warn({ cell: cellId }, `not fenced at takeover: ${error.message}`);
    }
  }
  await fencePorts(p.stores.global, row.key, row.fence);
  await Promise.all(
    hosts.map(async (name) => {
      const reply = await (await c.host(name)).fence(row.key, { generation: row.fence });
      if (reply.kind !== 'ok') c.log.warn({ host: name, reply }, 'a host was not fenced at takeover');
    }),
  );
  await Promise.all(
    (await storageHostsOf(p.stores.global, row.key)).map(async (name) => {
      const reply = await (await c.storage(name)).fence(row.key, { generation: row.fence });
      if (reply.kind !== 'ok') c.log.warn({ storageHost: name, reply }, 'a storage host was not fenced at takeover');
    }),
  );
}

/** The server's home, null when it has none any more, and the other cells of the hosts. */
async function cellsOf(
  p: Platform,
  serverId: string,
  hosts: readonly string[],
): Promise<{ home: string | null; others: readonly string[] }> {
  const mapping = await p.stores.global
    .selectFrom('server_mappings')
    .select('cell_id')
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  const rows =
    hosts.length === 0
      ? []
      : await p.stores.global.selectFrom('hosts').select('cell_id').where('name', 'in', hosts).execute();
  const home = mapping?.cell_id ?? null;
  return { home, others: [...new Set(rows.map((row) => row.cell_id))].filter((cellId) => cellId !== home) };
}
