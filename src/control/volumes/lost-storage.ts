// Storage hosts that were forgotten (storage-removal.ts): they will never return, and what they kept is lost.
//
// Theory of operation. `forgotten_at` in storage_hosts says so; the row stays, for volumes and what is owed of them name it.
// Who asks such a host for something, and gets no answer, is answered here, as by a host that has nothing: access has ended,
// what was to be deleted is gone, nothing can be made, and nobody is let in. So what is under way there, or owed, comes to
// its end by the ordinary ways. Nothing is asked of the records while a host answers.
// A host of that name that is registered anew (storage-hosts.ts) is no longer forgotten. What the old one may still have of
// volumes that were let go is for the audit to say.
import type { Kysely } from 'kysely';
import type { Job, Reply } from '../../host/contract.ts';
import type { StorageHost } from '../../storage/contract.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';

/** Whether an operator has said that the storage host of this name will never return. */
export async function isForgotten(db: Kysely<GlobalTables>, name: string): Promise<boolean> {
  const row = await db
    .selectFrom('storage_hosts')
    .select('id')
    .where('name', '=', name)
    .where('forgotten_at', 'is not', null)
    .executeTakeFirst();
  return row !== undefined;
}

/** As `p.storage(name)`; one that was forgotten and does not answer is answered for. */
export async function storageOf(p: Platform, name: string, trace?: Parameters<Platform['storage']>[1]) {
  const storage = await p.storage(name, trace);
  const lost = lostStorage(name);
  return new Proxy(storage, {
    get(target, method: keyof StorageHost) {
      const call: unknown = target[method];
      if (typeof call !== 'function') return call;
      return async (...args: unknown[]): Promise<Reply<unknown>> => {
        const reply = (await call.apply(target, args)) as Reply<unknown>;
        const isLost = reply.kind === 'unreachable' && (await isForgotten(p.stores.global, name));
        return isLost ? lost[method] : reply;
      };
    },
  });
}

/** What it says to each call, whatever is asked. */
function lostStorage(name: string): { readonly [K in keyof StorageHost]: Awaited<ReturnType<StorageHost[K]>> } {
  const reason = `storage host ${name} was forgotten: what it kept is lost`;
  const refused = { kind: 'refused', reason } as const;
  const gone = { kind: 'unreachable', reason } as const;
  const nothing = { kind: 'ok', value: {} } as const;
  const done: Reply<Job> = { kind: 'ok', value: { state: 'done', doneBytes: 0, totalBytes: 0 } };
  return {
    ...{ describe: gone, heartbeat: gone, files: gone, volume: { kind: 'absent' } },
    ...{ fence: nothing, fenceVolume: nothing, revoke: nothing },
    ...{ delete: done, deleteSnapshot: done, endUpload: done },
    ...{ create: refused, extend: refused, snapshot: refused, upload: refused, grant: refused },
    // To write back what was kept is how writing is undone; nobody is let to what comes of it.
    rewrite: done,
  };
}
