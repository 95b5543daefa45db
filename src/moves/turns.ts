// Requests that begin something on a server: whose turn it is, and how long it waits.
//
// They are served first come, first served: one queue per server, in the memory of this process, for as long as somebody
// is in it. The database has the last word all the same (one active saga per server): requests that came to other
// processes are in queues of theirs, and of two heads either may be next.
//
// Who is at the head and meets another saga is refused where task_state says so. A saga that shows nothing there (a device
// comes or goes) is one that Nova's compute host would have the next request wait behind, and whose end a client cannot
// see: it is waited for, for a while. Then the request is made anew from its first look, for the server may be another by
// then: its rules are asked, and its saga's state is made, from what is there now. Whoever waits holds no lock of a
// database. What the control plane begins by itself takes no turn: it is refused, and comes again.
import type { Platform } from '../control/platform.ts';
import { findServer } from '../control/servers.ts';
import { Mutex } from '../host/mutex.ts';
import { passed } from '../lib/clock.ts';
import { conflict } from '../model/refusal.ts';
import type { Actor, Refusal } from '../model/types.ts';
import { openSaga } from '../store/sagas.ts';

/** A saga that has let go of its server ends within this time; until then the next one waits for it. */
const ENDING_MS = 2_000;
/** So long a request waits for what shows no task: less than clients wait for an answer (60 s). */
const UNSEEN_MS = 30_000;
const LOOK_MS = 10;
/** Who has waited for long looks ever more rarely: after this share of the time waited so far. */
const RARER = 0.1;

interface Queue {
  readonly mutex: Mutex;
  length: number;
}

const queues = new WeakMap<Platform, Map<string, Queue>>();

/** Refusals for what may be over in a moment. */
const transient = new WeakSet<Refusal>();

/** The refusal, marked: whoever asked may be served when they ask anew. */
export function passing(refusal: Refusal): Refusal {
  transient.add(refusal);
  return refusal;
}

/** Something else is done to a volume of the server, which is no business of the server's own sagas. */
export const VOLUME_BUSY = passing(conflict('Something else is done to a volume.'));

/** What the use cases that begin something answer. */
type Answer = Refusal | null | { readonly kind: string; readonly refusal?: Refusal };

/** The use case, carried out when everyone who came to this server before is through, and anew while it may pass. */
export const inTurn =
  <Rest extends readonly unknown[], A extends Answer>(
    useCase: (p: Platform, actor: Actor, serverId: string, ...rest: Rest) => Promise<A>,
  ) =>
  (p: Platform, actor: Actor, serverId: string, ...rest: Rest): Promise<A> => {
    const since = passed(p.clock);
    return queued(p, serverId, async () => {
      for (;;) {
        const answer = await useCase(p, actor, serverId, ...rest);
        if (!mayPass(answer) || !(await othersEnd(p, serverId, since))) return answer;
      }
    });
  };

async function queued<T>(p: Platform, serverId: string, body: () => Promise<T>): Promise<T> {
  const ofProcess = queues.get(p) ?? new Map<string, Queue>();
  queues.set(p, ofProcess);
  const queue = ofProcess.get(serverId) ?? { mutex: new Mutex(), length: 0 };
  ofProcess.set(serverId, queue);
  queue.length += 1;
  try {
    return await queue.mutex.run(body);
  } finally {
    queue.length -= 1;
    if (queue.length === 0) ofProcess.delete(serverId);
  }
}

function mayPass(answer: Answer): boolean {
  if (answer === null) return false;
  const refusal = 'code' in answer ? answer : answer.refusal;
  return refusal !== undefined && transient.has(refusal);
}

/** Waits a moment, and for the saga that is at the server to end, if it is one to wait for; false when it has not. */
async function othersEnd(p: Platform, serverId: string, since: number): Promise<boolean> {
  for (;;) {
    const waited = passed(p.clock) - since;
    if (waited >= (await patienceOf(p, serverId))) return false;
    await p.clock.sleep(Math.max(LOOK_MS, Math.ceil(waited * RARER)));
    if (!(await openSaga(p.stores.global, serverId))) return true;
  }
}

async function patienceOf(p: Platform, serverId: string): Promise<number> {
  const open = await openSaga(p.stores.global, serverId);
  if (!open) return UNSEEN_MS;
  if (open.status === 'stuck') return 0;
  const found = await findServer(p, serverId);
  if (found.kind !== 'found') return 0;
  const { sagaId, taskState } = found.server;
  // It has let go of the server and is about to write that it is done, or is about to take hold of it.
  if (sagaId === null) return ENDING_MS;
  return taskState === null ? UNSEEN_MS : 0;
}
