// What a server's guest uses, asked of its host.
import type { Diagnostics } from '../host/contract.ts';
import { assertNever } from '../lib/errors.ts';
import { checkHasHost, invalidState, stateOf } from '../model/actions.ts';
import { POWER_STATE, type PowerState, type Refusal, type Server } from '../model/types.ts';
import type { Platform } from './platform.ts';

/** Nova's words for its codes (nova/compute/power_state.py:STATE_MAP). */
const POWER_WORDS: Readonly<Record<PowerState, string>> = {
  [POWER_STATE.NOSTATE]: 'pending',
  [POWER_STATE.RUNNING]: 'running',
  [POWER_STATE.PAUSED]: 'paused',
  [POWER_STATE.SHUTDOWN]: 'shutdown',
};

/** Only of a guest that runs, as in Nova: 409 of any other, 503 when its host does not answer. */
export async function diagnosticsOf(p: Platform, server: Server): Promise<Diagnostics | Refusal> {
  const homeless = checkHasHost(stateOf(server));
  if (homeless || server.host === null) return homeless ?? { code: 409, message: `Instance ${server.id} is not ready` };
  const off = (state: PowerState): Refusal =>
    invalidState('get_diagnostics', server.id, 'power state', POWER_WORDS[state]);
  if (server.powerState !== POWER_STATE.RUNNING) return off(server.powerState);
  const reply = await (await p.host(server.host)).diagnostics(server.id);
  switch (reply.kind) {
    case 'ok':
      return reply.value;
    case 'absent':
    case 'refused':
      return off(POWER_STATE.SHUTDOWN);
    case 'fenced':
    case 'unreachable':
      return { code: 503, message: 'Service is unavailable at this time.' };
    default:
      return assertNever(reply);
  }
}
