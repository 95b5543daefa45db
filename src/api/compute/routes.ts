// All routes of the compute service.
import type { Route } from '../http/route.ts';
import { aggregateImageRoutes } from './aggregate-images.ts';
import { aggregateRoutes, zoneRoutes } from './aggregates.ts';
import { extensionRoutes } from './extensions.ts';
import { flavorExtraRoutes } from './flavor-extras.ts';
import { flavorRoutes } from './flavors.ts';
import { floatingIpRoutes } from './floating-ips.ts';
import { goneRoutes } from './gone.ts';
import { hostRoutes } from './hosts.ts';
import { hypervisorRoutes } from './hypervisors.ts';
import { computeImageRoutes } from './images.ts';
import { instanceActionRoutes } from './instance-actions.ts';
import { keypairRoutes } from './keypairs.ts';
import { limitRoutes } from './limits.ts';
import { migrationRoutes } from './migrations.ts';
import { networkProxyRoutes } from './network-proxies.ts';
import { quotaRoutes } from './quotas.ts';
import { remoteConsoleRoutes } from './remote-consoles.ts';
import { securityGroupRoutes } from './security-groups.ts';
import { serverActionRoutes } from './server-actions.ts';
import { serverDiagnosticsRoutes } from './server-diagnostics.ts';
import { serverExternalEventRoutes } from './server-external-events.ts';
import { serverGroupRoutes } from './server-groups.ts';
import { serverInterfaceRoutes } from './server-interfaces.ts';
import { serverMetadataRoutes, serverTagRoutes } from './server-metadata.ts';
import { serverNetworkRoutes } from './server-network.ts';
import { serverPasswordRoutes } from './server-password.ts';
import { serverTopologyRoutes } from './server-topology.ts';
import { serverVolumeRoutes } from './server-volumes.ts';
import { serverRoutes } from './servers.ts';
import { serviceRoutes } from './services.ts';
import { usageRoutes } from './usage.ts';
import { volumeProxyRoutes } from './volume-proxies.ts';

export const computeRoutes: readonly Route[] = [
  ...flavorRoutes,
  ...flavorExtraRoutes,
  ...serverRoutes,
  ...serverActionRoutes,
  ...serverDiagnosticsRoutes,
  ...serverPasswordRoutes,
  ...serverTopologyRoutes,
  ...serverExternalEventRoutes,
  ...remoteConsoleRoutes,
  ...serverMetadataRoutes,
  ...serverTagRoutes,
  ...serverNetworkRoutes,
  ...serverInterfaceRoutes,
  ...serverVolumeRoutes,
  ...instanceActionRoutes,
  ...computeImageRoutes,
  ...migrationRoutes,
  ...hypervisorRoutes,
  ...hostRoutes,
  ...serviceRoutes,
  ...aggregateRoutes,
  ...aggregateImageRoutes,
  ...zoneRoutes,
  ...limitRoutes,
  ...quotaRoutes,
  ...usageRoutes,
  ...keypairRoutes,
  ...serverGroupRoutes,
  ...extensionRoutes,
  ...volumeProxyRoutes,
  ...securityGroupRoutes,
  ...floatingIpRoutes,
  ...networkProxyRoutes,
  ...goneRoutes,
];
