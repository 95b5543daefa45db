// A server as the API shows it: which keys at which microversion, and which only to administrators
// (nova/api/openstack/compute/views/servers.py).
import { createHash } from 'node:crypto';
import type { HostHealth } from '../../control/hosts.ts';
import type { ServersFloatingIp } from '../../control/network/server-networks.ts';
import type { Port } from '../../control/network.ts';
import type { Settings } from '../../control/platform.ts';
import type { Unreachable } from '../../control/server-lists.ts';
import type { Mapping as Home } from '../../control/servers.ts';
import type { Mapping } from '../../control/volumes/mappings.ts';
import { shownImageOf } from '../../model/disk-image.ts';
import { apiProgress, apiStatus, extendedStatus } from '../../model/states.ts';
import { isoMicroseconds, isoSeconds } from '../../model/time.ts';
import { type Flavor, POWER_STATE, type Server } from '../../model/types.ts';
import { linksOf } from './common.ts';

export interface View {
  readonly settings: Settings;
  readonly minor: number;
  readonly admin: boolean;
  /** Whether the embedded flavor is shown with its extra specs. */
  readonly extraSpecs: boolean;
  /** Null when host_status is not shown. */
  readonly hosts: ReadonlyMap<string, HostHealth> | null;
  /** Whether host_status is shown of those servers alone whose host nobody knows anything of. */
  readonly unknownHostsOnly: boolean;
}

/** What is shown of a server besides its record. */
export interface Around {
  readonly ports: readonly Port[];
  readonly floatingIps: readonly ServersFloatingIp[];
  /** Names of security groups. */
  readonly securityGroups: readonly string[];
  readonly volumes: readonly Mapping[];
  /** Its server group; of no account in lists, which do not show it. */
  readonly groupId: string | null;
  /** A delete was asked for and waits for a move to end. */
  readonly deleteRequested: boolean;
  readonly softDeleteRequested: boolean;
}

export const ROOT_DEVICE = '/dev/vda';

export const serverLinks = (settings: Settings, id: string) => linksOf(settings, `/servers/${id}`);

/** The short form of lists. */
export const renderServerRef = (settings: Settings, server: Server): object => ({
  id: server.id,
  name: server.name,
  links: serverLinks(settings, server.id),
});

/**
 * @param call `update`: before 2.75 the answer to a PUT leaves out what the update could not have changed;
 *   server_groups is shown for one server, not in lists
 */
export function renderServer(view: View, server: Server, around: Around, call: 'show' | 'list' | 'update'): object {
  const { settings, minor, admin } = view;
  const full = call !== 'update' || minor >= 75;
  const status = apiStatus(server.vmState, server.taskState);
  const progress = apiProgress(status, server.progress);
  return {
    id: server.id,
    name: server.name,
    status,
    tenant_id: server.projectId,
    user_id: server.userId,
    metadata: server.metadata,
    hostId:
      server.host === null
        ? ''
        : createHash('sha224')
            .update(server.projectId + server.host)
            .digest('hex'),
    image: imageRef(settings, shownImageOf(server.image)),
    flavor: minor >= 47 ? embeddedFlavor(server.flavor, view.extraSpecs) : flavorRef(settings, server.flavor),
    created: isoSeconds(server.createdAt),
    updated: isoSeconds(server.updatedAt),
    addresses: renderAddresses(around.ports, around.floatingIps, full),
    accessIPv4: server.accessIpV4 ?? '',
    accessIPv6: server.accessIpV6 ?? '',
    links: serverLinks(settings, server.id),
    ...(progress === undefined ? {} : { progress }),
    ...renderFault(server, admin),
    'OS-DCF:diskConfig': server.diskConfig,
    ...(full ? whereabouts(server, around, minor, admin) : {}),
    ...(minor >= 9 ? { locked: server.locked } : {}),
    ...(minor >= 73 ? { locked_reason: server.lockedReason } : {}),
    ...(minor >= 19 ? { description: server.description } : {}),
    ...(minor >= 26 ? { tags: server.tags } : {}),
    ...(minor >= 63 ? { trusted_image_certificates: null } : {}),
    ...(minor >= 71 && call !== 'list' ? { server_groups: around.groupId === null ? [] : [around.groupId] } : {}),
    ...(minor >= 96 ? { pinned_availability_zone: server.requestedZone } : {}),
    ...(full && view.hosts ? renderHostStatus(server, view.hosts, view.unknownHostsOnly) : {}),
  };
}

function whereabouts(server: Server, around: Around, minor: number, admin: boolean): object {
  const { deleteRequested, softDeleteRequested } = around;
  const taskState = deleteRequested ? 'deleting' : softDeleteRequested ? 'soft-deleting' : server.taskState;
  return {
    'OS-EXT-AZ:availability_zone': server.zone ?? '',
    ...extendedStatus(server.vmState, taskState, server.powerState),
    'OS-SRV-USG:launched_at': server.launchedAt === null ? null : isoMicroseconds(server.launchedAt),
    'OS-SRV-USG:terminated_at': server.deletedAt === null ? null : isoMicroseconds(server.deletedAt),
    key_name: server.keyName,
    ...(around.securityGroups.length > 0 ? { security_groups: around.securityGroups.map((name) => ({ name })) } : {}),
    config_drive: server.configDrive === null ? '' : 'True',
    'os-extended-volumes:volumes_attached': around.volumes.map(({ volumeId, deleteOnTermination }) => ({
      id: volumeId,
      ...(minor >= 3 ? { delete_on_termination: deleteOnTermination } : {}),
    })),
    ...(admin
      ? {
          'OS-EXT-SRV-ATTR:host': server.host,
          'OS-EXT-SRV-ATTR:hypervisor_hostname': server.host,
          'OS-EXT-SRV-ATTR:instance_name': `instance-${server.id.slice(0, 8)}`,
        }
      : {}),
    ...(minor >= 3 && (admin || minor >= 90) ? { 'OS-EXT-SRV-ATTR:hostname': server.hostname } : {}),
    ...(minor >= 3 && admin
      ? {
          'OS-EXT-SRV-ATTR:kernel_id': '',
          'OS-EXT-SRV-ATTR:launch_index': server.launchIndex,
          'OS-EXT-SRV-ATTR:ramdisk_id': '',
          'OS-EXT-SRV-ATTR:reservation_id': server.reservationId,
          'OS-EXT-SRV-ATTR:root_device_name': ROOT_DEVICE,
          'OS-EXT-SRV-ATTR:user_data': server.userData,
        }
      : {}),
  };
}

/**
 * By network name; with MAC addresses unless the call leaves them out. Floating IPs stand behind the addresses they
 * lead to.
 */
export function renderAddresses(
  ports: readonly Port[],
  floatingIps: readonly ServersFloatingIp[],
  withMacs: boolean,
): Record<string, object[]> {
  const ofPort = (port: Port): object[] => {
    const shown = (addr: string, type: 'fixed' | 'floating') => ({
      ...{ version: addr.includes(':') ? 6 : 4, addr },
      ...(withMacs ? { 'OS-EXT-IPS:type': type, 'OS-EXT-IPS-MAC:mac_addr': port.mac } : {}),
    });
    return port.fixedIps.flatMap(({ ip }) => [
      shown(ip, 'fixed'),
      ...floatingIps
        .filter((floating) => floating.portId === port.id && floating.fixedIp === ip)
        .map((floating) => shown(floating.ip, 'floating')),
    ]);
  };
  // A network may have the name of what every object has.
  const byName = Map.groupBy(ports, (port) => port.networkName);
  return Object.fromEntries([...byName].map(([name, its]) => [name, its.flatMap(ofPort)]));
}

/** Nova's empty string for a server that boots from a volume. */
const imageRef = (settings: Settings, id: string | null): object | '' =>
  id === null ? '' : { id, links: linksOf(settings, `/images/${id}`).slice(1) };

/** What is known of a server without its cell, as lists show it (Nova's "handling down cells"). */
export const renderUnreachable = (settings: Settings, home: Unreachable): object => ({
  id: home.server_id,
  status: 'UNKNOWN',
  tenant_id: home.project_id,
  created: isoSeconds(home.created_at),
  links: serverLinks(settings, home.server_id),
});

/** The same for one server alone: also what it was asked to be (nova/…/views/servers.py:_show_from_down_cells). */
export const renderUnreachableWhole = (
  { settings, minor, extraSpecs }: Pick<View, 'settings' | 'minor' | 'extraSpecs'>,
  home: Home,
  groupId: string | null,
): object => ({
  ...renderUnreachable(settings, home),
  user_id: home.user_id,
  image: imageRef(settings, home.image_id),
  flavor: embeddedFlavor(JSON.parse(home.flavor_json) as Flavor, extraSpecs),
  'OS-EXT-AZ:availability_zone': home.requested_zone ?? 'UNKNOWN',
  'OS-EXT-STS:power_state': POWER_STATE.NOSTATE,
  ...(minor >= 71 ? { server_groups: groupId === null ? [] : [groupId] } : {}),
});

const flavorRef = (settings: Settings, flavor: Flavor): object => ({
  id: flavor.flavorId,
  links: linksOf(settings, `/flavors/${encodeURIComponent(flavor.flavorId)}`).slice(1),
});

const embeddedFlavor = (flavor: Flavor, withExtraSpecs: boolean): object => ({
  original_name: flavor.name,
  vcpus: flavor.vcpus,
  ram: flavor.memoryMb,
  disk: flavor.rootGb,
  ephemeral: flavor.ephemeralGb,
  swap: flavor.swapMb,
  ...(withExtraSpecs ? { extra_specs: flavor.extraSpecs } : {}),
});

/** Shown in ERROR and when deleted; details of a server-side fault are for administrators. */
function renderFault(server: Server, admin: boolean): object {
  const { fault } = server;
  if (fault === null || (server.vmState !== 'error' && server.vmState !== 'deleted')) return {};
  const withDetails = fault.details !== null && (admin || fault.code !== 500);
  return {
    fault: {
      code: fault.code,
      created: isoSeconds(fault.createdAt),
      message: fault.message,
      ...(withDetails ? { details: fault.details } : {}),
    },
  };
}

function renderHostStatus(server: Server, hosts: ReadonlyMap<string, HostHealth>, unknownOnly: boolean): object {
  const status = hostStatus(server, hosts);
  return unknownOnly && status !== 'UNKNOWN' ? {} : { host_status: status };
}

function hostStatus(server: Server, hosts: ReadonlyMap<string, HostHealth>): string {
  if (server.host === null) return '';
  const host = hosts.get(server.host);
  if (!host) return 'UNKNOWN';
  if (host.forcedDown || !host.up) return 'DOWN';
  return host.disabled ? 'MAINTENANCE' : 'UP';
}
