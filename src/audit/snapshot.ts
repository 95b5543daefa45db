// What the auditor knows when it judges: everything that the servers of a slice may hold anywhere, read once from all
// stores and hosts.
//
// A snapshot of a live system is not one instant: its parts are read one after another. What a saga may have changed in
// the meantime is told apart by `busy`: every server that a saga worked on at any time between the first and the last
// read. All other servers stood still, but for small edits by users.
import type { Files } from '../host/contract.ts';
import type { AttachmentState } from '../model/attachments.ts';
import type { Inventories } from '../model/placement.ts';
import type { Flavor, Resources, Server } from '../model/types.ts';

/** Null: it was read. Otherwise why it could not be. */
export type Unreachable = string | null;

export interface ServerRecord {
  readonly server: Server;
  readonly frozen: boolean;
  /** Ids of the volumes that its home says it has. */
  readonly volumes: readonly string[];
}

export interface CellView {
  readonly id: string;
  readonly name: string;
  readonly unreachable: Unreachable;
  /** Records that are not marked deleted. */
  readonly records: readonly ServerRecord[];
  /** Tables with rows that belong to the record of a server, of which this cell has none. */
  readonly strays: readonly { readonly serverId: string; readonly table: string }[];
}

export interface GuestView {
  readonly serverId: string;
  readonly running: boolean;
  /** What it had in memory is kept. */
  readonly suspended: boolean;
  /** Other hosts can read its disk. */
  readonly exported: boolean;
}

/** What a host, or a storage host, tells of its files. */
export interface FilesView {
  /** Why they could not be looked at. */
  readonly unreachable: Unreachable;
  readonly missing: Files['missing'];
  /** Paths of what is nobody's. */
  readonly strays: readonly string[];
  /** Ids of guests, or volumes, of which there are files and no record. */
  readonly remains: readonly string[];
}

export interface HostView {
  /** Also the id of its placement provider. */
  readonly id: string;
  readonly name: string;
  readonly cellId: string;
  readonly unreachable: Unreachable;
  readonly guests: readonly GuestView[];
  readonly files: FilesView;
}

export interface HomeView {
  readonly cellId: string;
  readonly projectId: string;
  readonly userId: string;
  readonly flavor: Flavor;
  /** When it is to leave its host, ms since epoch; null: it stays. */
  readonly offloadAt: number | null;
  /** As the mapping says. */
  readonly softDeleted: boolean;
}

export interface SagaView {
  readonly id: string;
  readonly definition: string;
  /** What it works on: 'server' or 'volume'. */
  readonly subject: string;
  /** The id of that, of a volume too. */
  readonly serverId: string;
  readonly status: 'active' | 'stuck';
  /** Of one that is stuck: what keeps it, which need not be why it turned back. */
  readonly reason: string | null;
  /** When somebody should have gone on with it, ms since epoch: the later of its wake-up and the end of its lease. */
  readonly dueAt: number;
}

/** A move that is neither confirmed, reverted nor failed. */
export interface MigrationView {
  readonly id: string;
  readonly serverId: string;
  readonly status: string;
  readonly sourceHost: string;
  readonly sourceCellId: string;
  /** Null: none is chosen yet. */
  readonly destHost: string | null;
  readonly destCellId: string | null;
}

export interface ConsumerView {
  readonly id: string;
  readonly type: string;
  readonly serverId: string;
  readonly projectId: string;
  /** By provider id. */
  readonly holds: ReadonlyMap<string, Resources>;
}

export interface ProviderView {
  readonly id: string;
  readonly name: string;
  readonly inventories: Inventories;
  /** What is allocated of it in all. */
  readonly used: Resources;
}

export interface PortView {
  readonly id: string;
  /** '' when no server uses it. */
  readonly serverId: string;
  readonly bindings: readonly { readonly host: string; readonly active: boolean; readonly byOperator: boolean }[];
}

export interface ImageView {
  readonly id: string;
  readonly status: string;
  readonly sizeBytes: number | null;
}

export interface AttachmentView {
  readonly id: string;
  readonly volumeId: string;
  readonly serverId: string;
  readonly host: string;
  readonly active: boolean;
  readonly storageHost: string;
}

export interface VolumeView {
  readonly id: string;
  readonly status: string;
  readonly storageHost: string;
  /** Who has it or is about to, once per host. */
  readonly attachments: readonly AttachmentState[];
  /** A saga worked meanwhile on it, or on a server that has it. */
  readonly busy: boolean;
  /** Ids of its snapshots that are on record, and of those among them that are there to be used. */
  readonly snapshots: ReadonlySet<string>;
  readonly available: readonly string[];
  /** Of snapshots that are not made yet. */
  readonly creating: readonly string[];
  /** Several servers may have it at once. */
  readonly multiattach: boolean;
}

export interface StorageView {
  readonly name: string;
  readonly unreachable: Unreachable;
  readonly files: FilesView;
  /** Ids of volumes. */
  readonly keeps: readonly string[];
  /** Snapshots of these, by volume; without those that an unfinished saga keeps for its way back, or that are owed. */
  readonly snapshots: ReadonlyMap<string, readonly string[]>;
  readonly access: readonly { readonly volumeId: string; readonly attachmentId: string; readonly serverId: string }[];
}

export interface DebtView {
  readonly kind: string;
  /** The host's name, the cell's id (drop-records) or the storage host's name (of volumes). */
  readonly host: string;
  readonly serverId: string;
  readonly volumeId: string | null;
  readonly reason: string;
  readonly createdAt: number;
}

/** A guest that nobody owns, kept in quarantine or released from it. */
export interface QuarantineView {
  readonly host: string;
  readonly serverId: string;
  readonly reason: string;
  readonly foundAt: number;
}

export interface Snapshot {
  /** First and last read, ms since epoch. */
  readonly startedAt: number;
  readonly endedAt: number;
  /** Homes of servers that are not deleted, by server id. */
  readonly homes: ReadonlyMap<string, HomeView>;
  readonly cells: readonly CellView[];
  readonly hosts: readonly HostView[];
  /** Active and stuck ones, as they were at the end. */
  readonly sagas: readonly SagaView[];
  readonly busy: ReadonlySet<string>;
  readonly migrations: readonly MigrationView[];
  readonly consumers: readonly ConsumerView[];
  /** Of the whole system, in its first slice; none in the others. */
  readonly providers: readonly ProviderView[];
  readonly ports: readonly PortView[];
  /** Images whose own ids are in the slice. */
  readonly images: readonly ImageView[];
  /** Status by id of the images that the records name; one that is not in here is gone. */
  readonly imagesInUse: ReadonlyMap<string, string>;
  readonly imageFiles: {
    readonly unreachable: Unreachable;
    readonly files: readonly { readonly name: string; readonly sizeBytes: number }[];
  };
  readonly groupMembers: readonly { readonly serverId: string; readonly groupId: string }[];
  readonly attachments: readonly AttachmentView[];
  readonly volumes: readonly VolumeView[];
  readonly storage: readonly StorageView[];
  /** Volumes whose deletion is owed, and those of which the end of an access is, or that they hold again what they did. */
  readonly volumesOwed: ReadonlySet<string>;
  readonly endsOwed: ReadonlySet<string>;
  readonly debts: readonly DebtView[];
  readonly quarantined: readonly QuarantineView[];
  /** Servers whose guests were seen running on several hosts at one instant, with those hosts. */
  readonly together: ReadonlyMap<string, readonly string[]>;
}
