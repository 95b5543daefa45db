// What a new deployment starts with: flavors, and an image to boot.
import { createFlavor, listFlavors } from '../control/flavors.ts';
import type { Platform } from '../control/platform.ts';
import type { FlavorPlan } from './deployment.ts';

/** Makes the flavors when there are none yet: what an operator deletes later stays deleted. */
export async function seedFlavors(p: Platform, flavors: readonly FlavorPlan[]): Promise<void> {
  if ((await listFlavors(p)).length > 0) return;
  for (const flavor of flavors) {
    const result = await createFlavor(p, {
      flavorId: flavor.id,
      name: flavor.name,
      vcpus: flavor.vcpus,
      memoryMb: flavor.memoryMb,
      rootGb: flavor.diskGb,
      ephemeralGb: 0,
      swapMb: 0,
      rxtxFactor: 1,
      isPublic: true,
      description: null,
      extraSpecs: flavor.extraSpecs,
    });
    if (result.kind === 'refused') throw new Error(`flavor ${flavor.name}: ${result.refusal.message}`);
  }
}
