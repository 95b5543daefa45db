// The network API v2.0 (Neutron's).
import type { Route } from '../http/route.ts';
import { bindingRoutes } from './bindings.ts';
import { extensionRoutes } from './extensions.ts';
import { floatingIpRoutes } from './floating-ips.ts';
import { ipAvailabilityRoutes } from './ip-availability.ts';
import { networkRoutes as networks } from './networks.ts';
import { portRoutes } from './ports.ts';
import { quotaRoutes } from './quotas.ts';
import { routerRoutes } from './routers.ts';
import { securityGroupRoutes } from './security-groups.ts';
import { subnetRoutes } from './subnets.ts';

export const networkRoutes: readonly Route[] = [
  ...networks,
  ...subnetRoutes,
  ...portRoutes,
  ...bindingRoutes,
  ...securityGroupRoutes,
  ...routerRoutes,
  ...floatingIpRoutes,
  ...quotaRoutes,
  ...ipAvailabilityRoutes,
  ...extensionRoutes,
];
