// What may be done about a breach without asking anybody: only what is proven at that moment (repairs/proof.ts).
//
// Deliberately not here, because more than one answer is possible: amounts of allocations, bindings that are active at
// the wrong host, records without a home, guests of servers that nobody knows, images without their files.
import type { Platform } from '../control/platform.ts';
import { assertNever } from '../lib/errors.ts';
import type { Fix } from './invariant.ts';
import { closeMigration, deletePorts, dropProvider, leaveGroup, releaseRoom, unbindPort } from './repairs/globals.ts';
import { closeExport, destroyGuest, dropRecords, letGo } from './repairs/places.ts';
import type { Repaired } from './repairs/proof.ts';
import { releaseVolume, revokeAccess, settleVolume } from './repairs/volumes.ts';

export type { Repaired } from './repairs/proof.ts';

/** Looks again, and repairs what is proven; may be repeated. */
export async function repair(p: Platform, fix: Fix): Promise<Repaired> {
  switch (fix.kind) {
    case 'release room':
      return releaseRoom(p, fix.consumerId, fix.serverId);
    case 'drop provider':
      return dropProvider(p, fix.providerId);
    case 'unbind port':
      return unbindPort(p, fix.portId, fix.serverId, fix.host);
    case 'delete ports':
      return deletePorts(p, fix.serverId);
    case 'drop records':
      return dropRecords(p, fix.cellId, fix.serverId);
    case 'let go':
      return letGo(p, fix.serverId);
    case 'close migration':
      return closeMigration(p, fix.migrationId);
    case 'destroy guest':
      return destroyGuest(p, fix.host, fix.serverId);
    case 'close export':
      return closeExport(p, fix.host, fix.serverId);
    case 'leave group':
      return leaveGroup(p, fix.serverId);
    case 'settle status':
      return settleVolume(p, fix.volumeId);
    case 'release volume':
      return releaseVolume(p, fix);
    case 'revoke access':
      return revokeAccess(p, fix);
    default:
      return assertNever(fix);
  }
}
