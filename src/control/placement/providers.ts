// Hosts as providers of a Placement: made there with their inventories, marked while they are disabled, taken away.
//
// Theory of operation. `placement_providers` has a row for each provider that may be in Placement: written before it is
// made there, gone when it is gone there. It says which traits were last brought about; '' before the first time.
// A provider has the id and the name of its host. Its inventories are set when it is new there; from then on they are
// Placement's, for operators to change. Several control planes may do this at once: every write is one that may be repeated.
import { messageOf } from '../../lib/errors.ts';
import { type InventoryThere, type Placement, PlacementRefused } from '../../openstack/placement.ts';
import type { Platform } from '../platform.ts';

/** What tells our hosts from those of a Nova in the same Placement. */
export const OURS = 'CUSTOM_CROSSCELL';
/** Nova's, of a disabled host. */
export const DISABLED = 'COMPUTE_STATUS_DISABLED';

/** Providers that are worked on in one round. */
const BATCH = 200;

/** @throws ServiceDown */
export async function payProviders(p: Platform, placement: Placement): Promise<void> {
  for (const provider of await changedProviders(p)) {
    try {
      await bringAbout(p, placement, provider);
    } catch (error) {
      if (!(error instanceof PlacementRefused)) throw error;
      p.log.error({ host: provider.name }, `a provider is not as it should be: ${messageOf(error)}`);
    }
  }
}

interface Changed {
  readonly id: string;
  readonly name: string;
  /** Null: there is no such host any more. */
  readonly disabled: boolean | null;
  readonly isNew: boolean;
}

const traitsOf = (disabled: boolean): readonly string[] => (disabled ? [OURS, DISABLED] : [OURS]);

async function bringAbout(p: Platform, placement: Placement, { id, name, disabled, isNew }: Changed): Promise<void> {
  const rows = p.stores.global;
  if (disabled === null) {
    await placement.removeProvider(id);
    await rows.deleteFrom('placement_providers').where('provider_id', '=', id).execute();
    return;
  }
  if (isNew) {
    const row = { provider_id: id, name, traits: '' };
    await rows
      .insertInto('placement_providers')
      .values(row)
      .onConflict((any) => any.doNothing())
      .execute();
    await placement.ensureProvider(id, name, await inventoriesOf(p, id));
  }
  const traits = traitsOf(disabled);
  await placement.setTraits(id, traits, disabled ? [] : [DISABLED]);
  const set = { traits: traits.join() };
  await rows.updateTable('placement_providers').set(set).where('provider_id', '=', id).execute();
}

/** Hosts that are not, or not like that, in Placement, and providers there whose host is gone. Two statements. */
async function changedProviders(p: Platform): Promise<Changed[]> {
  const hosts = await p.stores.global
    .selectFrom('hosts as h')
    .innerJoin('providers as p', 'p.id', 'h.id')
    .leftJoin('placement_providers as there', 'there.provider_id', 'h.id')
    .select(['h.id', 'h.name', 'h.disabled', 'there.traits'])
    .where(({ or, and, eb }) =>
      or([
        eb('there.traits', 'is', null),
        and([eb('h.disabled', '=', 0), eb('there.traits', '<>', traitsOf(false).join())]),
        and([eb('h.disabled', '=', 1), eb('there.traits', '<>', traitsOf(true).join())]),
      ]),
    )
    .orderBy('h.id')
    .limit(BATCH)
    .execute();
  const gone = await p.stores.global
    .selectFrom('placement_providers as there')
    .leftJoin('hosts as h', 'h.id', 'there.provider_id')
    .select(['there.provider_id', 'there.name'])
    .where('h.id', 'is', null)
    .limit(BATCH)
    .execute();
  return [
    ...gone.map(({ provider_id: id, name }) => ({ id, name, disabled: null, isNew: false })),
    ...hosts.map(({ id, name, disabled, traits }) => ({
      ...{ id, name, disabled: disabled === 1, isNew: traits === null || traits === '' },
    })),
  ];
}

/** A class of which there is nothing is none in Placement. */
async function inventoriesOf(p: Platform, providerId: string): Promise<Record<string, InventoryThere>> {
  const rows = await p.stores.global
    .selectFrom('inventories')
    .select(['resource_class', 'total', 'reserved', 'allocation_ratio'])
    .where('provider_id', '=', providerId)
    .execute();
  return Object.fromEntries(
    rows
      .filter(({ total }) => Number(total) > 0)
      .map(({ resource_class, total, reserved, allocation_ratio }) => [
        resource_class,
        { total: Number(total), reserved: Number(reserved), allocation_ratio: Number(allocation_ratio) },
      ]),
  );
}
