// Tables of a cell's database: the servers whose home it is, and their history. Conventions as in global-schema.ts.
// Everything here that belongs to a server travels with it; travel.ts says so column by column.
export interface CellTables {
  servers: {
    id: string;
    name: string;
    hostname: string;
    description: string | null;
    project_id: string;
    user_id: string;
    image_json: string;
    flavor_json: string;
    /** While VERIFY_RESIZE: what it was before. */
    old_flavor_json: string | null;
    vm_state: string;
    task_state: string | null;
    /** vm_state to return to after a confirmed or reverted resize, or a restore: active or stopped. */
    old_vm_state: string | null;
    /** The image that its shelving made; null: it is not shelved, or boots from a volume. */
    shelved_image_id: string | null;
    power_state: number;
    progress: number;
    /** The saga that holds task_state; null when task_state is. */
    saga_id: string | null;
    /** Counts up whenever a saga lets go of the server: what was planned from an earlier one may be no longer so. */
    revision: number;
    host: string | null;
    /** 1 while the record is being carried to another cell: nobody but the move may change it. */
    frozen: number;
    /** Zone of its host; requested_zone: what the user pinned it to, if anything. */
    zone: string | null;
    requested_zone: string | null;
    key_name: string | null;
    /** base64, as the user gave it. */
    user_data: string | null;
    /** What is on the config drive besides user_data; null: the server has none. */
    config_drive_json: string | null;
    metadata_json: string;
    tags_json: string;
    /** 0: not locked; 1: by its owner; 2: by an administrator. */
    locked: number;
    locked_reason: string | null;
    disk_config: string;
    reservation_id: string;
    launch_index: number;
    access_ip_v4: string | null;
    access_ip_v6: string | null;
    fault_json: string | null;
    created_at: number;
    updated_at: number;
    launched_at: number | null;
    deleted_at: number | null;
  };
  /** The volumes that a server has, in the words of its creator; who has access is in the global volume_attachments. */
  block_device_mappings: {
    id: string;
    server_id: string;
    volume_id: string;
    /** /dev/vda and so on; the guest sees the volume's id as the disk's serial (its first 20 characters). */
    device: string;
    /** 0: what the server boots from; null: never. */
    boot_index: number | null;
    delete_on_termination: number;
    tag: string | null;
    created_at: number;
  };
  server_actions: {
    id: string;
    server_id: string;
    action: string;
    request_id: string;
    user_id: string;
    project_id: string;
    /** The saga that carries it out: its journal is where the action's events are read from. */
    saga_id: string | null;
    message: string | null;
    started_at: number;
    finished_at: number | null;
  };
  /**
   * The highest generation that has taken over a server's saga: writes of older ones are refused. It concerns this
   * database only and outlives the server, because a conductor that stalled may wake after the server is gone. server_id
   * '': the floor, for all servers that have no row of their own (cell-fences.ts).
   */
  server_fences: {
    server_id: string;
    generation: number;
  };
}
