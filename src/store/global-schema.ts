// Tables of the global database: what concerns no single cell. The one row per server in server_mappings says where
// the server lives. Placement, flavors, images, ports, sagas and the record of every move are here too, so that a
// cell that is down hurts nobody outside it. Times are milliseconds since the Unix epoch; booleans are 0 or 1; columns
// that end in _json hold JSON text; everything else is text or integers, the same on SQLite and PostgreSQL.
import type { Generated } from 'kysely';
import type { IdentityTables } from './identity-schema.ts';
import type { MetadefTables } from './metadef-schema.ts';
import type { NetworkTables } from './network-schema.ts';

export interface GlobalTables extends IdentityTables, MetadefTables, NetworkTables {
  cells: {
    id: string;
    name: string;
    disabled: number;
    /** Since when the monitor has not reached its database; null: it reaches it. */
    unreachable_since: number | null;
    created_at: number;
  };
  /** Host mapping and service record in one; id is also the placement provider's id. */
  hosts: {
    id: string;
    name: string;
    cell_id: string;
    url: string;
    disabled: number;
    disabled_reason: string | null;
    forced_down: number;
    /** Last heartbeat answered; null: never yet. */
    last_seen_at: number | null;
    /** Agent instance that answered last; a new one means that the agent (perhaps the host) restarted. */
    agent_id: string | null;
    /** 0: it was away (or is forced down), and has not yet been told what it should run; nothing new is put there. */
    reconciled: number;
    hypervisor_type: string;
    hypervisor_version: number;
    architecture: string;
    vcpus: number;
    memory_mb: number;
    disk_gb: number;
    created_at: number;
    updated_at: number;
  };
  /** The home of every server: exactly one row each. cell_id changes by one single-row write, the pivot of a move. */
  server_mappings: {
    server_id: string;
    cell_id: string;
    project_id: string;
    user_id: string;
    /** Fence of the saga that last set the home. */
    generation: number;
    /** A delete was asked for while a saga was active; carried out when that saga has ended. */
    delete_requested_at: number | null;
    /** The same for a soft delete, also of a server whose resize has to be confirmed first. */
    soft_delete_requested_at: number | null;
    /** Enough to show the server while its cell is down: what it was asked to be. The flavor changes with the home. */
    flavor_json: string;
    /** Null: it boots from a volume. */
    image_id: string | null;
    requested_zone: string | null;
    /** Since when it is soft-deleted: it counts in no quota and is in no list, and is reclaimed after a while. */
    soft_deleted_at: number | null;
    /** When a shelved server is to leave its host; null: never, or it has. */
    offload_at: number | null;
    deleted_at: number | null;
    created_at: number;
  };
  /** One row per move; its id is also the placement consumer that holds the source's resources. */
  migrations: {
    id: Generated<number>;
    uuid: string;
    server_id: string;
    project_id: string;
    user_id: string;
    type: string;
    status: string;
    source_cell_id: string;
    source_host: string;
    dest_cell_id: string | null;
    dest_host: string | null;
    old_flavor_json: string;
    new_flavor_json: string;
    /** Saga that works on it now or did last. */
    saga_id: string;
    /** Automatic confirmation at this time; null: never. */
    confirm_at: number | null;
    created_at: number;
    updated_at: number;
  };
  flavors: {
    id: Generated<number>;
    flavor_id: string;
    name: string;
    vcpus: number;
    memory_mb: number;
    root_gb: number;
    ephemeral_gb: number;
    swap_mb: number;
    rxtx_factor: number;
    is_public: number;
    disabled: number;
    description: string | null;
    extra_specs_json: string;
    created_at: number;
  };
  flavor_projects: { flavor_id: string; project_id: string };
  aggregates: {
    id: Generated<number>;
    uuid: string;
    name: string;
    zone: string | null;
    metadata_json: string;
    created_at: number;
    updated_at: number | null;
  };
  aggregate_hosts: { aggregate_id: number; host: string };
  keypairs: {
    user_id: string;
    name: string;
    type: string;
    public_key: string;
    fingerprint: string;
    created_at: number;
  };
  /** Without a project: of all that have none of their own. With a user: of what that user has in the project. */
  quotas: { project_id: string; user_id: string; resource: string; hard_limit: number };

  /** policy: affinity, anti-affinity, or one of them with `soft-` before it. */
  server_groups: {
    id: string;
    project_id: string;
    user_id: string;
    name: string;
    policy: string;
    max_server_per_host: number | null;
    created_at: number;
  };
  /** A server is in one group at most. */
  server_group_members: { server_id: string; group_id: string; joined_at: number };

  providers: {
    id: string;
    name: string;
    cell_id: string;
    generation: number;
  };
  inventories: {
    provider_id: string;
    resource_class: string;
    total: number;
    reserved: number;
    allocation_ratio: number;
  };
  /** Whoever holds allocations: a server, or the migration that keeps its old place. server_id is whose they count for. */
  consumers: {
    id: string;
    type: string;
    server_id: string;
    project_id: string;
    user_id: string;
    generation: number;
  };
  allocations: {
    consumer_id: string;
    provider_id: string;
    resource_class: string;
    used: number;
  };

  images: {
    id: string;
    name: string | null;
    status: string;
    visibility: string;
    owner: string;
    disk_format: string | null;
    container_format: string | null;
    size_bytes: number | null;
    virtual_bytes: number | null;
    md5: string | null;
    sha256: string | null;
    sha512: string | null;
    min_disk_gb: number;
    min_ram_mb: number;
    protected: number;
    hidden: number;
    properties_json: string;
    tags_json: string;
    /** Projects that it is shared with: status and times by id. */
    members_json: Generated<string>;
    created_at: number;
    updated_at: number;
  };

  /**
   * Servers that may have ports in Neutron; settled_json: the bindings last brought about there, see
   * control/network/neutron.ts.
   */
  neutron_servers: { server_id: string; settled_json: string; created_at: number };
  /** Requests that are taking ports for a server there; until: when one is given up for dead. */
  neutron_takes: { id: string; server_id: string; until: number };
  /** Ports there that are users' own, and the server that may have it. */
  neutron_lent: { port_id: string; server_id: string };
  /** Images that are another service's, mirrored here; used_at: when a request last named it. */
  image_mirrors: { image_id: string; used_at: number };
  /**
   * Consumers that may hold something in a Placement; settled_json: what was last brought about there, see
   * control/placement/follow.ts.
   */
  placement_consumers: { consumer_id: string; server_id: string; settled_json: string; created_at: number };
  /** Hosts that may be providers of a Placement; traits: those last brought about there. */
  placement_providers: { provider_id: string; name: string; traits: string };
  /** Images of ours that are not in Glance as they are to be in the end; fate: see control/images/glance-writes.ts. */
  glance_writes: { image_id: string; fate: string; created_at: number };
  /** A storage host: where volumes are kept. */
  storage_hosts: {
    id: string;
    name: string;
    url: string;
    disabled: number;
    last_seen_at: number | null;
    agent_id: string | null;
    driver: string;
    total_gb: number;
    free_gb: number;
    /** When an operator said that it will never return; null: it is there, or down for a while. */
    forgotten_at: number | null;
    created_at: number;
    updated_at: number;
  };
  volume_types: {
    id: string;
    name: string;
    description: string | null;
    is_public: number;
    extra_specs_json: string;
    created_at: number;
  };
  /** The projects that a type which is not public is open to. */
  volume_type_projects: { type_id: string; project_id: string };
  volumes: {
    id: string;
    name: string | null;
    description: string | null;
    project_id: string;
    user_id: string;
    size_gb: number;
    /** Cinder's words: creating, available, reserved, attaching, in-use, detaching, extending, deleting, error… */
    status: string;
    storage_host: string;
    type_id: string;
    zone: string;
    multiattach: number;
    bootable: number;
    snapshot_id: string | null;
    source_volume_id: string | null;
    /** What it remembers of the image it was made from (`volume_image_metadata`); null: of none. */
    image_json: string | null;
    metadata_json: string;
    /** Fence of the saga that last changed the volume itself. */
    generation: number;
    created_at: number;
    updated_at: number;
  };
  volume_snapshots: {
    id: string;
    volume_id: string;
    name: string | null;
    description: string | null;
    project_id: string;
    user_id: string;
    size_gb: number;
    status: string;
    metadata_json: string;
    created_at: number;
    updated_at: number;
  };
  /** A volume that its project offers: one at most of each. key_hash: of the key, with the salt. */
  volume_transfers: {
    id: string;
    volume_id: string;
    project_id: string;
    name: string | null;
    no_snapshots: number;
    salt: string;
    key_hash: string;
    created_at: number;
  };
  /**
   * A volume on a compute host for a server. At most one of a server's attachments of a volume is active: that one has
   * access. generation: fence of the server's saga that last changed it.
   */
  volume_attachments: {
    id: string;
    volume_id: string;
    server_id: string;
    host: string;
    active: number;
    mode: string;
    generation: number;
    created_at: number;
    attached_at: number | null;
  };
  /** What a Cinder has, or is to have, for a server: control/volumes/cinder-attachments.ts. attachment_id: '' is the hold. */
  cinder_attachments: {
    id: string;
    cinder_id: string | null;
    volume_id: string;
    server_id: string;
    attachment_id: string;
    generation: number;
    going: number;
    /** How the guest reaches the volume, once it is connected. */
    connection_json: string | null;
    created_at: number;
  };

  sagas: {
    id: string;
    definition: string;
    version: number;
    /** What its key is the id of: 'server' or 'volume'. */
    subject: string;
    /** What it works on; at most one active saga per key (unique partial index). */
    key: string;
    status: string;
    direction: string;
    cursor: number;
    attempt: number;
    /** Undoing as far as this step, then forward again; null: all the way. retries: how often it may still do so. */
    back_to: number | null;
    retries: number;
    wake_at: number;
    lease_until: number;
    owner: string;
    /** From the sequence in `fences`: greater than every fence handed out before. */
    fence: number;
    /** 1: somebody asked it to turn back. */
    cancel_requested: number;
    state_json: string;
    /** Bytes done and in all of the step at the cursor, while it is pending. */
    progress_json: string | null;
    journal_json: string;
    reason: string | null;
    request_id: string;
    created_at: number;
    ended_at: number | null;
  };
  /** A guest that was found on a host and that nobody owns: turned off and kept. At most one open row per guest. */
  quarantine: {
    id: string;
    /** guest; remains, volume: files without a record, of a guest on a compute host or of a volume on a storage host. */
    kind: string;
    host: string;
    /** Of a volume: the volume's id. */
    server_id: string;
    /** The guest's own when it was found; 0 without a record. */
    generation: number;
    was_running: number;
    /** What the files take; null for guests. */
    bytes: number | null;
    reason: string;
    found_at: number;
    /** Null: it is kept. */
    ended_at: number | null;
    /** released, destroyed; returned: it belongs there again, or was gone by itself; lost: its host was forgotten. */
    outcome: string | null;
  };
  /** Who may open which console for a short while. */
  console_tokens: {
    /** SHA-256 of the token, hexadecimal. */
    hash: string;
    server_id: string;
    /** The host that the server was on, and when its guest was started there: another start is another console. */
    host: string;
    guest_started_at: number;
    /** vnc, serial */
    kind: string;
    created_at: number;
    expires_at: number;
  };
  /** Work that one process at a time does, now and then: who comes at or after next_at has the turn, and sets the next. */
  turns: { name: string; next_at: number };
  /** The one sequence that fences are taken from (name 'saga'). */
  fences: { name: string; value: number };
  /** A clean-up that could not be done because its host, or its cell's database, was unreachable. */
  debts: {
    id: string;
    /**
     * destroy-guest, destroy-remains, drop-snapshot, match-devices, match-guest, drop-spare; drop-records: then `host`
     * holds the id of the cell; revoke-volume, delete-volume, delete-remains, drop-kept-content, restore-volume: then it
     * names the storage host.
     */
    kind: string;
    host: string;
    server_id: string;
    /** Of the debts that concern a volume; else null. */
    volume_id: string | null;
    generation: number;
    saga_id: string;
    reason: string;
    attempts: number;
    /** Why it was refused last, by whoever answered; null: nobody has answered and refused. */
    last_error: string | null;
    due_at: number;
    created_at: number;
    paid_at: number | null;
  };
}
