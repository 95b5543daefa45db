// The rules of resize, migrate, confirm and revert, in the order in which Nova looks at them.
//
// Theory of operation. A use case gathers the facts (one read each), then asks the rules. Nothing here decides a race:
// the compare-and-set that claims the server does. Numbers V… are the rules' names in this product's documentation and
// tests. V22 (quota) stands in quota.ts, V36 (bodies) in bodies.ts, V19 in flavor-image.ts, V26, V28, V29 in targeting.ts
// and scheduling.ts. Rules of Nova for what this product does not have (shared file systems, accelerators, ports with
// resource requests, vTPM, volume-backed servers, server groups) have no counterpart.
import type { ServerState } from './actions.ts';
import { checkAction, checkServiceUp } from './actions.ts';
import {
  checkDiskConfig,
  checkLocalDisks,
  checkMinRam,
  checkNoShrink,
  checkRememberedImage,
  checkZeroRoot,
} from './disk-rules.ts';
import { checkFlavorAgainstImageProperties } from './flavor-image.ts';
import type { Refusal } from './refusal.ts';
import { badRequest, firstRefusal } from './refusal.ts';
import type { Flavor, ImageSnapshot, MigrationStatus } from './types.ts';

/** A flavor as it is offered now, and to whom. */
export interface OfferedFlavor extends Flavor {
  readonly disabled: boolean;
  readonly isPublic: boolean;
  /** Projects that may use it when it is not public. */
  readonly projectIds: readonly string[];
}

/** Nova's 400 for a flavor that is not there, not visible or not offered (FlavorNotFound). */
export const flavorNotFound = (flavorRef: string): Refusal => badRequest(`Flavor ${flavorRef} could not be found.`);

/** True if a project may see and use the flavor. */
export function mayUseFlavor(flavor: OfferedFlavor, projectId: string, admin: boolean): boolean {
  return flavor.isPublic || admin || flavor.projectIds.includes(projectId);
}

/** V13: the flavor must exist and be open to the project. */
export function checkFlavorVisible(
  flavorRef: string,
  flavor: OfferedFlavor | null,
  projectId: string,
  admin: boolean,
): Refusal | null {
  return flavor === null || !mayUseFlavor(flavor, projectId, admin) ? flavorNotFound(flavorRef) : null;
}

/** V14: a disabled flavor is not offered for resizing (nor for create). */
export function checkFlavorEnabled(flavor: OfferedFlavor): Refusal | null {
  return flavor.disabled ? flavorNotFound(flavor.flavorId) : null;
}

/** V15: a resize must change the flavor. */
export function checkFlavorChanges(current: Flavor, next: Flavor): Refusal | null {
  return current.flavorId === next.flavorId ? badRequest('When resizing, instances must change flavor!') : null;
}

export interface ResizeFacts {
  readonly server: ServerState;
  readonly admin: boolean;
  readonly projectId: string;
  /** Whether the compute service of the server's host is up. */
  readonly serviceUp: boolean;
  readonly flavorRef: string;
  readonly current: Flavor;
  /** What `flavorRef` names now; null: nothing. */
  readonly next: OfferedFlavor | null;
  readonly image: ImageSnapshot;
  readonly imageVirtualBytes: number;
  /** The root disk the server has now, in bytes. */
  readonly rootDiskBytes: number;
  readonly diskConfig: 'AUTO' | 'MANUAL' | null;
}

/** All rules of a resize but quota (V22, checkResizeQuota, which the use case asks after these); null if it may begin. */
export function checkResize(facts: ResizeFacts): Refusal | null {
  const { server, admin, next } = facts;
  const before = firstRefusal(
    () => checkAction('resize', server, admin),
    () => checkServiceUp(facts.serviceUp),
    () => checkDiskConfig(facts.diskConfig, facts.image),
    () => checkFlavorVisible(facts.flavorRef, next, facts.projectId, admin),
  );
  if (before !== null || next === null) return before;
  const volumeBacked = facts.image.id === null;
  const changed = firstRefusal(
    // V16: a server that boots from a volume may have a flavor without a root disk.
    () => (volumeBacked ? null : checkZeroRoot(facts.current, next)),
    // A disabled flavor that is also the current one is refused for being the same.
    () => checkFlavorChanges(facts.current, next),
    () => checkFlavorEnabled(next),
    () => (volumeBacked ? checkMinRam(next, facts.image.minRamMb) : checkRememberedImage(next, facts.image)),
    () => checkFlavorAgainstImageProperties(next, facts.image.properties, facts.image.id ?? ''),
    () => checkLocalDisks(next),
  );
  if (changed !== null || volumeBacked) return changed;
  return checkNoShrink(facts.rootDiskBytes, next, facts.imageVirtualBytes);
}

/** V24: the host asked for must be another than the server's. */
export function checkOtherHost(server: ServerState, host: string | null): Refusal | null {
  return host !== null && host === server.host
    ? badRequest('Cannot migrate to the host where the server exists.')
    : null;
}

/** V25: the host asked for must exist, and stand in the server's cell if the move may not leave it. */
export function checkTargetHost(
  host: string | null,
  targetCellId: string | null,
  serverCellId: string,
  crossCellAllowed: boolean,
): Refusal | null {
  if (host === null) return null;
  const reachable = targetCellId !== null && (crossCellAllowed || targetCellId === serverCellId);
  return reachable ? null : badRequest(`Compute host ${host} could not be found.`);
}

export interface MigrateFacts {
  readonly server: ServerState;
  readonly admin: boolean;
  readonly serviceUp: boolean;
  /** The host asked for; null: none. */
  readonly host: string | null;
  /** The cell of the host asked for; null: no such host. */
  readonly targetCellId: string | null;
  readonly serverCellId: string;
  readonly crossCellAllowed: boolean;
}

/** All rules of a cold migration; null if it may begin. */
export function checkMigrate(facts: MigrateFacts): Refusal | null {
  return firstRefusal(
    () => checkAction('migrate', facts.server, facts.admin),
    () => checkServiceUp(facts.serviceUp),
    () => checkOtherHost(facts.server, facts.host),
    () => checkTargetHost(facts.host, facts.targetCellId, facts.serverCellId, facts.crossCellAllowed),
  );
}

const notResized = badRequest('Instance has not been resized.');

const checkEnd = (
  action: 'confirmResize' | 'revertResize',
  server: ServerState,
  admin: boolean,
  migration: MigrationStatus | null,
  servicesUp: boolean,
): Refusal | null =>
  firstRefusal(
    () => checkAction(action, server, admin),
    () => (migration === 'finished' ? null : notResized),
    () => checkServiceUp(servicesUp),
  );

/**
 * V32: confirm needs a resized, idle server, its migration `finished`, and the source's service up.
 * @param migration status of the server's last migration; null: it has none
 */
export function checkConfirm(
  server: ServerState,
  admin: boolean,
  migration: MigrationStatus | null,
  sourceUp: boolean,
): Refusal | null {
  return checkEnd('confirmResize', server, admin, migration, sourceUp);
}

/**
 * V33: revert needs a resized, idle server and its migration `finished`. V23: no quota is looked at, see quota.ts. Nova
 * does not ask whether the two hosts are up, and finds out with the guest already stopped: here it is refused before.
 */
export function checkRevert(
  server: ServerState,
  admin: boolean,
  migration: MigrationStatus | null,
  servicesUp: boolean,
): Refusal | null {
  return checkEnd('revertResize', server, admin, migration, servicesUp);
}
