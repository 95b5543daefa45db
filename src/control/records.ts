// Rows of the databases as the model's types, and back. JSON columns are parsed here and nowhere else.
import type { Insertable, Selectable } from 'kysely';
import type { ConfigDrive } from '../model/config-drive.ts';
import type { Fault, Flavor, ImageSnapshot, PowerState, Server, TaskState, VmState } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';

export type ServerRow = Selectable<CellTables['servers']>;

export function serverOf(row: ServerRow): Server {
  return {
    id: row.id,
    name: row.name,
    hostname: row.hostname,
    description: row.description,
    projectId: row.project_id,
    userId: row.user_id,
    image: JSON.parse(row.image_json) as ImageSnapshot,
    flavor: JSON.parse(row.flavor_json) as Flavor,
    oldFlavor: row.old_flavor_json === null ? null : (JSON.parse(row.old_flavor_json) as Flavor),
    vmState: row.vm_state as VmState,
    taskState: row.task_state as TaskState | null,
    oldVmState: row.old_vm_state as 'active' | 'stopped' | null,
    shelvedImageId: row.shelved_image_id,
    powerState: row.power_state as PowerState,
    progress: row.progress,
    sagaId: row.saga_id,
    revision: row.revision,
    host: row.host,
    zone: row.zone,
    requestedZone: row.requested_zone,
    keyName: row.key_name,
    userData: row.user_data,
    configDrive: row.config_drive_json === null ? null : (JSON.parse(row.config_drive_json) as ConfigDrive),
    metadata: JSON.parse(row.metadata_json) as Record<string, string>,
    tags: JSON.parse(row.tags_json) as string[],
    locked: row.locked !== 0,
    lockedBy: row.locked === 0 ? null : row.locked === 1 ? 'owner' : 'admin',
    lockedReason: row.locked_reason,
    diskConfig: row.disk_config as 'AUTO' | 'MANUAL',
    reservationId: row.reservation_id,
    launchIndex: row.launch_index,
    accessIpV4: row.access_ip_v4,
    accessIpV6: row.access_ip_v6,
    fault: row.fault_json === null ? null : (JSON.parse(row.fault_json) as Fault),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    launchedAt: row.launched_at,
    deletedAt: row.deleted_at,
  };
}

export function rowOf(server: Server): Insertable<CellTables['servers']> {
  return {
    id: server.id,
    name: server.name,
    hostname: server.hostname,
    description: server.description,
    project_id: server.projectId,
    user_id: server.userId,
    image_json: JSON.stringify(server.image),
    flavor_json: JSON.stringify(server.flavor),
    old_flavor_json: server.oldFlavor === null ? null : JSON.stringify(server.oldFlavor),
    vm_state: server.vmState,
    task_state: server.taskState,
    old_vm_state: server.oldVmState,
    shelved_image_id: server.shelvedImageId,
    power_state: server.powerState,
    progress: server.progress,
    saga_id: server.sagaId,
    revision: server.revision,
    host: server.host,
    frozen: 0,
    zone: server.zone,
    requested_zone: server.requestedZone,
    key_name: server.keyName,
    user_data: server.userData,
    config_drive_json: server.configDrive === null ? null : JSON.stringify(server.configDrive),
    metadata_json: JSON.stringify(server.metadata),
    tags_json: JSON.stringify(server.tags),
    locked: server.lockedBy === null ? 0 : server.lockedBy === 'owner' ? 1 : 2,
    locked_reason: server.lockedReason,
    disk_config: server.diskConfig,
    reservation_id: server.reservationId,
    launch_index: server.launchIndex,
    access_ip_v4: server.accessIpV4,
    access_ip_v6: server.accessIpV6,
    fault_json: server.fault === null ? null : JSON.stringify(server.fault),
    created_at: server.createdAt,
    updated_at: server.updatedAt,
    launched_at: server.launchedAt,
    deleted_at: server.deletedAt,
  };
}

/** The flavor alone, without whatever else the caller's object carries: this is what goes into records. */
export const plainFlavor = (flavor: Flavor): Flavor => ({
  flavorId: flavor.flavorId,
  name: flavor.name,
  vcpus: flavor.vcpus,
  memoryMb: flavor.memoryMb,
  rootGb: flavor.rootGb,
  ephemeralGb: flavor.ephemeralGb,
  swapMb: flavor.swapMb,
  extraSpecs: flavor.extraSpecs,
});
