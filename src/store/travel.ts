// What of a server crosses into another cell. Every column of every cell table is named here; a new column without a
// decision does not compile. `travels`: copied as it is. `recomputed`: set by the move on the target, for the reason
// beside it. `stays`: it belongs to the cell's database and not to the server.
import type { CellTables } from './cell-schema.ts';

type Fate = 'travels' | { readonly recomputed: string } | { readonly stays: string };
type Fates = { readonly [Table in keyof CellTables]: { readonly [Column in keyof CellTables[Table]]: Fate } };

export const TRAVEL: Fates = {
  servers: {
    id: 'travels',
    name: 'travels',
    hostname: 'travels',
    description: 'travels',
    project_id: 'travels',
    user_id: 'travels',
    image_json: 'travels',
    flavor_json: { recomputed: 'the new flavor once the move has settled' },
    old_flavor_json: { recomputed: 'the old flavor while the resize waits to be confirmed' },
    vm_state: { recomputed: 'resized once the move has settled' },
    task_state: 'travels',
    old_vm_state: { recomputed: 'where to return to, while the resize waits' },
    shelved_image_id: 'travels',
    power_state: { recomputed: 'as seen on the target' },
    progress: 'travels',
    saga_id: 'travels',
    revision: 'travels',
    host: { recomputed: 'the target host' },
    frozen: { recomputed: 'thawed on arrival' },
    zone: { recomputed: "the target host's zone" },
    requested_zone: 'travels',
    key_name: 'travels',
    user_data: 'travels',
    // Not made anew on the target: the guest must find the same bytes, whatever was renamed since it was created.
    config_drive_json: 'travels',
    metadata_json: 'travels',
    tags_json: 'travels',
    locked: 'travels',
    locked_reason: 'travels',
    disk_config: 'travels',
    reservation_id: 'travels',
    launch_index: 'travels',
    access_ip_v4: 'travels',
    access_ip_v6: 'travels',
    fault_json: 'travels',
    created_at: 'travels',
    updated_at: { recomputed: 'the time of the last change' },
    launched_at: 'travels',
    deleted_at: 'travels',
  },
  block_device_mappings: {
    id: 'travels',
    server_id: 'travels',
    volume_id: 'travels',
    device: 'travels',
    boot_index: 'travels',
    delete_on_termination: 'travels',
    tag: 'travels',
    created_at: 'travels',
  },
  server_actions: {
    id: 'travels',
    server_id: 'travels',
    action: 'travels',
    request_id: 'travels',
    user_id: 'travels',
    project_id: 'travels',
    saga_id: 'travels',
    message: 'travels',
    started_at: 'travels',
    finished_at: 'travels',
  },
  server_fences: {
    server_id: { stays: 'a fence protects this database from conductors that woke too late' },
    generation: { stays: 'as above' },
  },
};

/** The tables of what belongs to a server's record: whatever travels with it, by the server's id. */
export const BESIDE_RECORDS = (Object.keys(TRAVEL) as (keyof CellTables)[]).filter((table) => {
  const fates: Readonly<Record<string, Fate>> = TRAVEL[table];
  return fates['server_id'] === 'travels';
}) as readonly BesideRecords[];

/** Their type, for the query builder: each has a `server_id`. */
export type BesideRecords = Exclude<keyof CellTables, 'servers' | 'server_fences'>;
