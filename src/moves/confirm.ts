// Confirm: the resize is kept; what the source still holds is given back.
//
// VERIFY_RESIZE → ACTIVE|SHUTOFF. Nothing here can be undone and nothing needs to be: every step only takes away what
// the server no longer uses. A source host that is down does not hold it up: its clean-up is owed.
import { hasJumped } from '../control/heartbeats.ts';
import { hostIsUp, isForcedDown } from '../control/hosts.ts';
import { dueConfirmations, type Migration, openMigration } from '../control/migrations.ts';
import { unbindPorts } from '../control/network.ts';
import { release } from '../control/placement.ts';
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { invariant } from '../lib/errors.ts';
import { newRequestId } from '../lib/ids.ts';
import { stateOf } from '../model/actions.ts';
import { checkConfirm } from '../model/resize-rules.ts';
import { type Actor, isAdmin, POWER_STATE, type Refusal, type Server } from '../model/types.ts';
import { type ActionState, askedBy, letGo, takeHoldWithVolumes } from './claim.ts';
import { destroyOrOwe } from './hosts.ts';
import { writeMigration } from './migration-record.ts';
import type { Move } from './move.ts';
import { inGlobal, unlessFenced } from './outcomes.ts';
import { dropVolumes, type HasVolumes } from './server-volumes.ts';
import { startMove, unlessOvertaken } from './start.ts';
import { inTurn } from './turns.ts';

export interface ConfirmState extends ActionState, HasVolumes {
  readonly migrationId: string;
  readonly homeCellId: string;
  /** Where the server is now. */
  readonly host: string | null;
  readonly sourceHost: string;
  /** vm_state to return to. */
  readonly returnTo: 'active' | 'stopped';
}

const FORWARD = 'forward only: it takes away what is no longer used';

export const CONFIRM: Move<ConfirmState> = {
  name: 'confirm',
  version: 1,
  pivot: 'take hold',
  parties: (s) => [s.sourceHost],
  steps: [
    {
      // The user goes on seeing VERIFY_RESIZE: there is no status for confirming.
      step: 'take hold',
      do: (c) => takeHoldWithVolumes(c, c.s.homeCellId, 'confirmResize', null, { from: ['resized'], host: c.s.host }),
      undo: (c) => letGo(c, c.s.homeCellId, {}, 'Error'),
    },
    {
      step: 'mark confirming',
      do: (c) => writeMigration(c, c.s.migrationId, { status: 'confirming', saga_id: c.saga.id }),
      undo: FORWARD,
    },
    {
      step: 'clean source',
      do: (c) => destroyOrOwe(c, c.s.sourceHost, 'source of a confirmed move'),
      undo: FORWARD,
    },
    {
      step: 'unbind source ports',
      do: async (c) => unlessFenced(await unbindPorts(c.p.stores.global, c.serverId, c.s.sourceHost, c.generation)),
      undo: FORWARD,
    },
    {
      step: 'drop source attachments',
      do: (c) => dropVolumes(c, c.s.sourceHost),
      undo: FORWARD,
    },
    {
      step: 'release source room',
      do: (c) => inGlobal(c, (trx) => release(trx, c.s.migrationId)),
      undo: FORWARD,
    },
    {
      step: 'close migration',
      do: (c) => writeMigration(c, c.s.migrationId, { status: 'confirmed', confirm_at: null }),
      undo: FORWARD,
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.homeCellId, { vm_state: c.s.returnTo, old_vm_state: null, old_flavor_json: null }, null),
      undo: FORWARD,
    },
  ],
};

/**
 * Keeps the resize. 409 when the server is not resized, something else is at it or one of its two hosts is silent, 400
 * without a finished migration.
 */
export const confirmResize = inTurn((p: Platform, actor: Actor, serverId: string) =>
  beginConfirm(p, actor, serverId, isReady),
);

/** Up; or an administrator has forced it down, and says so that nothing is to be waited for there. */
const isReady = async (p: Platform, host: string): Promise<boolean> =>
  (await hostIsUp(p, host)) || isForcedDown(p, host);

/**
 * @param isKept whether the server may be left on its host for good: the disk that it came with is the last one, when that
 *   host is dead
 */
async function beginConfirm(
  p: Platform,
  actor: Actor,
  serverId: string,
  isKept: (p: Platform, host: string) => Promise<boolean>,
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server } = found;
  const migration = await openMigration(p.stores.global, serverId);
  const servicesUp = (await isReady(p, migration?.sourceHost ?? '')) && (await isKept(p, server.host ?? ''));
  const refusal = checkConfirm(stateOf(server), isAdmin(actor), migration?.status ?? null, servicesUp);
  if (refusal) return unlessOvertaken(p, server, 'confirmResize', refusal);
  invariant(migration, 'checkConfirm refuses without a migration');
  return startConfirm(p, actor, found, migration);
}

/** The same, without asking whether it may; the source host may be down. */
export function startConfirm(
  p: Platform,
  actor: Actor,
  { server, cellId }: { readonly server: Server; readonly cellId: string },
  migration: Migration,
): Promise<Refusal | null> {
  return startMove(
    p,
    {
      move: CONFIRM,
      ...{ serverId: server.id, actor },
      state: {
        ...askedBy(actor, server),
        migrationId: migration.uuid,
        homeCellId: cellId,
        host: server.host,
        sourceHost: migration.sourceHost,
        // As the guest is now, not as it was before (Nova: _confirm_resize): it may have turned itself off meanwhile.
        returnTo: server.powerState === POWER_STATE.SHUTDOWN ? ('stopped' as const) : ('active' as const),
      },
    },
    'confirmResize',
  );
}

/** One that is refused (a host of it is down, say) is tried again after this time, so that it keeps no other waiting. */
const AGAIN_MS = 60_000;

/**
 * Confirms resizes that have waited longer than the window; not shortly after the clock has jumped, and not on a host that
 * is down, whatever is said of it: nobody has asked for what the server came with to go.
 */
export async function confirmOverdue(p: Platform): Promise<void> {
  if (hasJumped(p)) return;
  for (const migration of await dueConfirmations(p)) {
    const refusal = await beginConfirm(p, systemActor(migration), migration.serverId, hostIsUp);
    if (refusal === null) {
      p.log.info({ serverId: migration.serverId }, 'resize confirmed: its window is over');
      continue;
    }
    p.log.warn({ serverId: migration.serverId, refusal }, 'a resize could not be confirmed by itself');
    await p.stores.global
      .updateTable('migrations')
      .set({ confirm_at: p.clock.now() + AGAIN_MS })
      .where('uuid', '=', migration.uuid)
      .where('status', '=', 'finished')
      .execute();
  }
}

const systemActor = (migration: Migration): Actor => ({
  userId: migration.userId,
  projectId: migration.projectId,
  roles: ['admin'],
  requestId: newRequestId(),
});
