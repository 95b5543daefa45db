// Parts of the safety, switched off. A check that cannot fail proves nothing: with one of these gone the search must find
// violations, or it would not find them either if the part were broken.
//
// None of it is a switch in the product: it is done to the simulated world from outside, where no deployment can get at.
// - host-fences: hosts take a call of whatever generation for the newest;
// - port-fences, cell-fences: port bindings, or the databases of cells, forget which generations they have seen (triggers);
//   cells also how often a server has been let go of, which keeps most of the same out;
// - lease: a conductor's commit passes although another has taken over the saga;
// - undo: the undo of one step does nothing, and says that it is done;
// - debts: what is owed is never written down (a trigger drops it);
// - revoke: storage hosts say that an access to a volume has ended, and do not end it;
// - disk: a disk that is copied to another host lacks what was written last there, and the digests are the same.
import type { Host } from '../host/contract.ts';
import type { SimulatedHypervisor } from '../host/simulated.ts';
import type { SagaStore } from '../saga/types.ts';
import type { StorageHost } from '../storage/contract.ts';
import type { Databases } from './databases.ts';

export const SAFETIES = [
  'host-fences',
  'port-fences',
  'cell-fences',
  'lease',
  'undo',
  'debts',
  'revoke',
  'disk',
] as const;
export type Safety = (typeof SAFETIES)[number];

/** Its undo is the one that is switched off. */
export const UNDONE_STEP = { move: 'resize', step: 'choose target' } as const;

const FORGETFUL_CELL = `
  create temp trigger forget_fence_insert after insert on server_fences begin
    update server_fences set generation = 0 where server_id = new.server_id; end;
  create temp trigger forget_fence_update after update on server_fences when new.generation <> 0 begin
    update server_fences set generation = 0 where server_id = new.server_id; end;
  create temp trigger forget_revision after update on servers when new.revision <> 0 begin
    update servers set revision = 0 where id = new.id; end;`;
const FORGETFUL_PORTS = `
  create temp trigger forget_binding_insert after insert on port_bindings when new.generation <> 0 begin
    update port_bindings set generation = 0 where port_id = new.port_id and host = new.host; end;
  create temp trigger forget_binding_update after update on port_bindings when new.generation <> 0 begin
    update port_bindings set generation = 0 where port_id = new.port_id and host = new.host; end;`;
const NO_LEDGER = `
  create temp trigger no_ledger before insert on debts begin select raise(ignore); end;`;

/** What is switched off in the databases. */
export function weaken(databases: Databases, without: Safety | null): void {
  if (without === 'port-fences') databases.change(FORGETFUL_PORTS, '');
  if (without === 'cell-fences') databases.change('', FORGETFUL_CELL);
  if (without === 'debts') databases.change(NO_LEDGER, '');
}

/** A host that takes every call for the newest. */
export function unfenced(host: Host): Host {
  const seen = new Map<string, number>();
  return new Proxy(host, {
    get(target, method: keyof Host) {
      const call = target[method] as (...args: readonly unknown[]) => unknown;
      return (serverId?: string, request?: unknown, ...rest: readonly unknown[]) => {
        if (serverId === undefined || typeof request !== 'object' || request === null || !('generation' in request)) {
          return call.call(target, serverId, request, ...rest);
        }
        const generation = Math.max(Number(request.generation), seen.get(serverId) ?? 0);
        seen.set(serverId, generation);
        return call.call(target, serverId, { ...request, generation }, ...rest);
      };
    },
  });
}

/** The hypervisor loses what a guest wrote last whenever its disk comes in from another host, and does not notice. */
export function loseLastWords(hypervisor: SimulatedHypervisor): void {
  const copy = hypervisor.importDisk.bind(hypervisor);
  hypervisor.importDisk = async (serverId, ...rest) => {
    const digest = await copy(serverId, ...rest);
    const words = hypervisor.diskOf(serverId)?.words ?? [];
    // The first is not a guest's: it says of what the disk was made.
    if (words.length > 1) words.pop();
    return digest;
  };
}

/** A storage host that lets everybody stay in. */
export const hospitable = (storage: StorageHost): StorageHost => ({
  ...storage,
  revoke: async () => ({ kind: 'ok', value: {} }),
});

/** Commits pass whoever holds the lease. */
export function withoutLease(store: SagaStore, databases: Databases): SagaStore {
  return {
    ...store,
    async commit(row, patch, leaseMs) {
      const [now] = databases.rows('select owner, fence from sagas where id = ?', row.id);
      const { owner, fence } = row;
      const committed = await store.commit(
        now ? { ...row, owner: String(now['owner']), fence: Number(now['fence']) } : row,
        patch,
        leaseMs,
      );
      // It goes on under its own fence: what it does to hosts and databases is still told from what is newer.
      return committed && { ...committed, owner, fence };
    },
  };
}
