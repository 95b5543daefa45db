// What operators do about a host that is not to be trusted any more: they have its servers built anew elsewhere, and look
// later at what was left behind.
//
// Theory of operation. Whoever evacuates a server answers for it that the guest on its old host is off
// (moves/evacuate.ts), so the machine is turned off first; it is on again some time later, during the evacuation or
// long after it. Most hosts are forced down meanwhile, which spares waiting until they count as down by themselves. A
// disk that was left there is kept in quarantine until an operator has it destroyed; at the latest that happens at the
// end of the world.
import { updateService } from '../control/hosts.ts';
import type { Platform } from '../control/platform.ts';
import { destroy, listQuarantine, type Quarantined } from '../control/quarantine.ts';
import { serverOrRefusal } from '../control/servers.ts';
import type { Refusal } from '../model/types.ts';
import { evacuateServer } from '../moves/evacuate.ts';
import type { Databases } from './databases.ts';
import type { World } from './world.ts';

export interface EvacuateWish {
  readonly serverId: string;
  readonly choice: number;
  /** Turns the machine of that name off; resolves when no guest of it runs. */
  readonly turnOff: (host: string) => Promise<void>;
}

export async function evacuate(p: Platform, world: World, wish: EvacuateWish): Promise<Refusal | null> {
  const { serverId, choice, turnOff } = wish;
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { host } = found.server;
  if (host !== null) {
    await turnOff(host);
    if (choice % 4 > 0) await updateService(p, host, { forcedDown: true });
  }
  const hosts = [...world.hosts.keys()];
  const wanted = choice % 3 === 0 ? (hosts[choice % hosts.length] ?? null) : null;
  return evacuateServer(p, world.admin, serverId, { host: wanted, staysOff: choice % 5 === 0 });
}

/** One of the guests that evacuations have left behind is destroyed. */
export async function destroyKept(p: Platform, { admin }: World, choice: number): Promise<Refusal | null> {
  const kept = await remains(p);
  const one = kept[choice % Math.max(1, kept.length)];
  return one ? destroy(p, admin, one.id) : { code: 404, message: 'nothing is kept' };
}

/**
 * What evacuations have left behind is destroyed; false: there is nothing any more.
 * Whatever else is in quarantine stays: it should not have come there.
 */
export async function destroyRemains({ p, admin }: World): Promise<boolean> {
  const kept = await remains(p);
  for (const { id } of kept) await destroy(p, admin, id);
  return kept.length > 0;
}

const remains = async (p: Platform): Promise<Quarantined[]> =>
  (await listQuarantine(p, { limit: 10_000 })).filter(({ reason }) =>
    reason.startsWith('its server was evacuated to '),
  );

/** A server's old disk is on its old host until an operator has it destroyed. */
export function lostRemains({ hosts }: World, databases: Databases): string[] {
  return databases
    .rows(
      `select distinct s.key as server_id, s.state_json ->> '$.source.host' as host from sagas s
       where s.definition = 'evacuate' and s.status = 'done' and s.state_json ->> '$.imageId' is not null
         and not exists (select 1 from quarantine q
           where q.server_id = s.key and q.host = s.state_json ->> '$.source.host' and q.outcome = 'destroyed')`,
    )
    .filter(({ server_id: serverId, host }) => !hosts.get(String(host))?.hypervisor.diskWords(String(serverId)))
    .map(
      ({ server_id: serverId, host }) =>
        `the disk of server ${serverId} on ${host}, which it was evacuated from, is gone`,
    );
}
