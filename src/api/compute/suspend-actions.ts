// Suspending a server to its host's disk, and having it go on.
import { suspendServer, wakeServer } from '../../moves/power.ts';
import { type Actions, accepted, action, Nothing } from './server-action.ts';

export const SUSPEND_ACTIONS: Actions = {
  suspend: action('os_compute_api:os-suspend-server:suspend', Nothing, ({ p, actor, server }) =>
    accepted(suspendServer(p, actor, server.id)),
  ),
  resume: action('os_compute_api:os-suspend-server:resume', Nothing, ({ p, actor, server }) =>
    accepted(wakeServer(p, actor, server.id)),
  ),
};
