// A crash dump: the guest gets a non-maskable interrupt, and does with it what its kernel was told to do.
//
// A saga for the sake of its fence and its place in the server's history; its status does not change. An interrupt cannot
// be taken back, and one whose answer was lost is given again: a kernel that dumps does so at the first.
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { checkAction, stateOf } from '../model/actions.ts';
import { type Actor, isAdmin, type Refusal, type VmState } from '../model/types.ts';
import { type ActionState, askedBy, letGo, takeHold, unlessLetGo } from './claim.ts';
import { settled } from './hosts.ts';
import type { Move } from './move.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

export interface CrashDumpState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly vmState: VmState;
}

export const CRASH_DUMP: Move<CrashDumpState> = {
  name: 'crash dump',
  version: 1,
  pivot: 'let go',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'trigger_crash_dump', null, { from: [c.s.vmState], host: c.s.host }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'interrupt guest',
      do: async (c) => settled(await (await c.host(c.s.host)).injectNmi(c.serverId, { generation: c.generation })),
      undo: 'what the guest makes of it is its own business',
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: (c) => unlessLetGo(c, c.s.cellId),
    },
  ],
};

export const triggerCrashDump = inTurn(beginCrashDump);

async function beginCrashDump(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('triggerCrashDump', stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  if (server.host === null) return { code: 409, message: `Instance ${serverId} is not ready` };
  const state = { ...askedBy(actor, server), cellId, host: server.host, vmState: server.vmState };
  return startMove(p, { move: CRASH_DUMP, serverId, actor, state }, 'trigger_crash_dump');
}
