// Locking a server against its own project's changes. What an administrator has locked only an administrator unlocks.
import { Type } from 'typebox';
import { lockerOf, lockServer, unlockServer } from '../../control/server-marks.ts';
import { requireRule } from '../http/auth.ts';
import { nullable, object } from './common.ts';
import { type Actions, accepted, action, Nothing, targetOf } from './server-action.ts';

const LockFrom73 = nullable(object({ locked_reason: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })) }));

export const LOCK_ACTIONS: Actions = {
  lock: action(
    'os_compute_api:os-lock-server:lock',
    (minor) => (minor >= 73 ? LockFrom73 : Nothing) as typeof LockFrom73,
    ({ p, actor, server }, value) => accepted(lockServer(p, actor, server.id, value?.locked_reason ?? null)),
  ),
  unlock: action('os_compute_api:os-lock-server:unlock', Nothing, async ({ p, actor, server }) => {
    if (server.lockedBy !== null && server.lockedBy !== lockerOf(actor, server.projectId))
      requireRule(p, 'compute', actor, 'os_compute_api:os-lock-server:unlock:unlock_override', targetOf(server));
    return accepted(unlockServer(p, actor, server.id));
  }),
};
