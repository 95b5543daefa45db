// Amounts of resource classes, and what a flavor asks for.
//
// Theory of operation. Resources are plain records of whole, non-negative amounts; a class that is absent counts zero,
// and no function here ever returns an explicit zero, so that equality of records is equality of amounts.
import type { Flavor, ResourceClass, Resources } from './types.ts';
import { RESOURCE_CLASSES } from './types.ts';

type Mutable = { -readonly [K in ResourceClass]?: number };

/** A record of the non-zero amounts that `amount` gives for each class. */
function resourcesBy(amount: (resourceClass: ResourceClass) => number): Resources {
  const result: Mutable = {};
  for (const resourceClass of RESOURCE_CLASSES) {
    const value = amount(resourceClass);
    if (value !== 0) result[resourceClass] = value;
  }
  return result;
}

export const amountOf = (resources: Resources, resourceClass: ResourceClass): number => resources[resourceClass] ?? 0;

export function addResources(a: Resources, b: Resources): Resources {
  return resourcesBy((c) => amountOf(a, c) + amountOf(b, c));
}

/** a − b per class; may be negative where b is larger. */
export function subtractResources(a: Resources, b: Resources): Resources {
  return resourcesBy((c) => amountOf(a, c) - amountOf(b, c));
}

/** The larger amount per class. */
export function maxResources(a: Resources, b: Resources): Resources {
  return resourcesBy((c) => Math.max(amountOf(a, c), amountOf(b, c)));
}

export function sameResources(a: Resources, b: Resources): boolean {
  return RESOURCE_CLASSES.every((c) => amountOf(a, c) === amountOf(b, c));
}

export const isEmpty = (resources: Resources): boolean => RESOURCE_CLASSES.every((c) => amountOf(resources, c) === 0);

/**
 * The flavor as it weighs on a host: a server that boots from a volume has no root disk there, whatever its flavor says
 * (nova/scheduler/utils.py:ResourceRequest, is_bfv).
 */
export const flavorOnHost = (flavor: Flavor, image: { readonly id: string | null }): Flavor =>
  image.id === null ? { ...flavor, rootGb: 0 } : flavor;

/**
 * What a server of this flavor is owed at Placement: VCPU, MEMORY_MB (MiB) and DISK_GB (GiB; root + ephemeral + swap,
 * swap rounded up to whole GiB), without zero entries. Source: nova/scheduler/utils.py:ResourceRequest.from_request_spec
 * for image-backed servers (others: flavorOnHost). `resources:` overrides in extra specs are not honoured.
 */
export function resourcesOf(flavor: Flavor): Resources {
  const disk = flavor.rootGb + flavor.ephemeralGb + Math.ceil(flavor.swapMb / 1024);
  return resourcesBy((c) => {
    switch (c) {
      case 'VCPU':
        return flavor.vcpus;
      case 'MEMORY_MB':
        return flavor.memoryMb;
      case 'DISK_GB':
        return disk;
    }
  });
}
