// All that the API answers.
import type { Identity } from '../control/identity.ts';
import type { Faults } from '../moves/faults.ts';
import type { RealService } from '../openstack/settings.ts';
import { computeRoutes } from './compute/routes.ts';
import { consolePageRoutes } from './console/pages.ts';
import { auditRoutes } from './crosscell/audit.ts';
import { faultRoutes } from './crosscell/faults.ts';
import { moveRoutes } from './crosscell/moves.ts';
import { quarantineRoutes } from './crosscell/quarantine.ts';
import { crosscellRoutes } from './crosscell/routes.ts';
import { discoveryRoutes } from './discovery.ts';
import type { Route } from './http/route.ts';
import { identityRoutes } from './identity/routes.ts';
import { hostImageRoutes } from './image/data.ts';
import { imageRoutes } from './image/routes.ts';
import { networkRoutes } from './network/routes.ts';
import { blockStorageRoutes } from './volume/routes.ts';

export interface RouteParts {
  /** Null: Keystone does it, elsewhere. */
  readonly identity: Identity | null;
  /** What hosts prove to be ours with. */
  readonly fleetSecret: string;
  /** Null or absent: no faults can be injected, and the routes for that answer 404. */
  readonly faults?: Faults | null;
  /** Services that are an OpenStack's own: they are not served here. Absent: none. */
  readonly elsewhere?: readonly RealService[];
}

export const allRoutes = ({ identity, fleetSecret, faults, elsewhere = [] }: RouteParts): readonly Route[] => [
  ...discoveryRoutes,
  ...(identity === null ? [] : identityRoutes(identity)),
  ...computeRoutes,
  ...(elsewhere.includes('image') ? [] : imageRoutes),
  ...hostImageRoutes(fleetSecret),
  ...(elsewhere.includes('network') ? [] : networkRoutes),
  ...(elsewhere.includes('volume') ? [] : blockStorageRoutes),
  ...consolePageRoutes,
  ...crosscellRoutes,
  ...moveRoutes,
  ...auditRoutes(),
  ...quarantineRoutes,
  ...faultRoutes(faults ?? null),
];
