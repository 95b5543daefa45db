// How a host becomes known: its row, its provider and its inventories, in one transaction.
//
// What it says of itself is written anew each time that it is registered; its inventories are an operator's from then on.
// The scheduler does not choose a new host before the monitor has compared what is on it with the records (moves/monitor.ts).
import type { HostDescription } from '../host/contract.ts';
import { newId } from '../lib/ids.ts';
import { exclusively } from '../store/dialect.ts';
import type { Platform } from './platform.ts';

/** What is written down of a host. */
export type HostFacts = Omit<HostDescription, 'upSeconds' | 'loads'>;

/**
 * Makes the host known, or brings what is known of it up to date (its address and what it says of itself). Its
 * inventories are set once: what an operator changed later stays.
 */
export async function registerHost(
  p: Platform,
  host: { readonly name: string; readonly cellId: string; readonly url: string; readonly description: HostFacts },
): Promise<void> {
  const { description } = host;
  const now = p.clock.now();
  const facts = {
    url: host.url,
    hypervisor_type: description.hypervisorType,
    hypervisor_version: description.hypervisorVersion,
    architecture: description.architecture,
    vcpus: description.vcpus,
    memory_mb: description.memoryMb,
    disk_gb: description.diskGb,
    updated_at: now,
  };
  await p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, 'hosts');
    const known = await trx.selectFrom('hosts').select('id').where('name', '=', host.name).executeTakeFirst();
    if (known) {
      await trx.updateTable('hosts').set(facts).where('id', '=', known.id).execute();
      return;
    }
    const id = newId();
    await trx
      .insertInto('hosts')
      .values({
        id,
        name: host.name,
        cell_id: host.cellId,
        disabled: 0,
        disabled_reason: null,
        forced_down: 0,
        last_seen_at: now,
        agent_id: null,
        // It may have been known once, or elsewhere: nobody knows what it has until the monitor has compared it.
        reconciled: 0,
        created_at: now,
        ...facts,
      })
      .execute();
    await trx.insertInto('providers').values({ id, name: host.name, cell_id: host.cellId, generation: 0 }).execute();
    const { inventory } = p.settings;
    await trx
      .insertInto('inventories')
      .values([
        {
          provider_id: id,
          resource_class: 'VCPU',
          total: description.vcpus,
          reserved: inventory.reservedHostCpus,
          allocation_ratio: inventory.cpuAllocationRatio,
        },
        {
          provider_id: id,
          resource_class: 'MEMORY_MB',
          total: description.memoryMb,
          reserved: inventory.reservedHostMemoryMb,
          allocation_ratio: inventory.ramAllocationRatio,
        },
        {
          provider_id: id,
          resource_class: 'DISK_GB',
          total: description.diskGb,
          reserved: inventory.reservedHostDiskGb,
          allocation_ratio: inventory.diskAllocationRatio,
        },
      ])
      .execute();
  });
}
