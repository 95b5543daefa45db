// Actions of administrators on a server: states by hand, crash dumps, and what is refused here in Nova's words because it
// is not there (live migration, passwords and networks set from outside).
import { type Static, Type } from 'typebox';
import { resetState } from '../../control/server-marks.ts';
import { checkAction, type ServerAction, stateOf } from '../../model/actions.ts';
import { isAdmin } from '../../model/types.ts';
import { triggerCrashDump } from '../../moves/crash-dump.ts';
import { requireRule } from '../http/auth.ts';
import { ApiError, badRequest, conflict, refuse } from '../http/errors.ts';
import type { Answer } from '../http/route.ts';
import { booleanOf, nullable, object } from './common.ts';
import { type ActionCall, type Actions, AdminPass, accepted, action, Nothing, targetOf } from './server-action.ts';

const Flag = Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })]);
const HostName = Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9-._]*$' });

const MigrateLive = object({ block_migration: Flag, disk_over_commit: Flag, host: nullable(HostName) });
const MigrateLiveFrom25 = object({ block_migration: Flag, host: nullable(HostName) });
const MigrateLiveFrom30 = object({ ...MigrateLiveFrom25.properties, force: Type.Optional(Flag) });

const allowed = ({ server, actor }: ActionCall, name: ServerAction): void =>
  refuse(checkAction(name, stateOf(server), isAdmin(actor)));

const forced = (value: { readonly force?: boolean | string; readonly host?: string | null }): boolean =>
  booleanOf(String(value.force ?? false)) === true && (value.host ?? null) === null;

function migrateLive(call: ActionCall, wish: Static<typeof MigrateLiveFrom30>): Promise<Answer> {
  const { p, actor, server } = call;
  if ((wish.host ?? null) !== null)
    requireRule(p, 'compute', actor, 'os_compute_api:os-migrate-server:migrate:host', targetOf(server));
  if (forced(wish)) throw badRequest("Can't force to a non-provided destination");
  allowed(call, 'liveMigrate');
  throw badRequest('Migration pre-check error: live migration is not supported; the server can be migrated cold.');
}

export const ADMIN_ACTIONS: Actions = {
  'os-resetState': action(
    'os_compute_api:os-admin-actions:reset_state',
    object({ state: Type.Enum(['active', 'error']) }),
    ({ p, actor, server }, { state }) => accepted(resetState(p, actor, server.id, state as 'active' | 'error')),
  ),
  // Gone since Nova 23 as well, for whoever asks.
  resetNetwork: action('os_compute_api:servers:show', Nothing, async () => {
    throw new ApiError(410, 'This resource is no longer available. No forwarding address is given.');
  }),
  // Nova's libvirt driver has nothing to inject either: config drives say what there is.
  injectNetworkInfo: action('os_compute_api:os-admin-actions:inject_network_info', Nothing, async (call) => {
    allowed(call, 'injectNetworkInfo');
    return { status: 202 };
  }),
  // There is no agent in the guest that could set it.
  changePassword: action('os_compute_api:os-admin-password', object({ adminPass: AdminPass }), async (call) => {
    allowed(call, 'changePassword');
    throw conflict('QEMU guest agent is not enabled');
  }),
  trigger_crash_dump: action(
    'os_compute_api:servers:trigger_crash_dump',
    (minor) => (minor >= 17 ? Nothing : null),
    ({ p, actor, server }) => accepted(triggerCrashDump(p, actor, server.id)),
  ),
  'os-migrateLive': action(
    'os_compute_api:os-migrate-server:migrate_live',
    (minor) =>
      (minor < 25
        ? MigrateLive
        : minor >= 30 && minor < 68
          ? MigrateLiveFrom30
          : MigrateLiveFrom25) as typeof MigrateLiveFrom30,
    async (call, wish) => migrateLive(call, wish),
  ),
};
