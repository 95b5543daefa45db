// The words of the product as data. Pure types: what a flavor, a server, an image is, in the units OpenStack uses
// (vCPUs, MiB of memory, GiB of disk). States are closed unions: match them exhaustively.
import type { ConfigDrive } from './config-drive.ts';

/** An OpenStack flavor as a server remembers it: the snapshot outlives the flavor itself. */
export interface Flavor {
  /** The id users see and send as flavorRef. */
  readonly flavorId: string;
  readonly name: string;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly rootGb: number;
  readonly ephemeralGb: number;
  readonly swapMb: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
}

/** What a server remembers of the image it was made from, or of that of the volume it boots from. */
export interface ImageSnapshot {
  /** Null: it boots from a volume. */
  readonly id: string | null;
  readonly minDiskGb: number;
  readonly minRamMb: number;
  readonly properties: Readonly<Record<string, string>>;
  /** What its root disk stands on, where that is another image; see disk-image.ts. */
  readonly diskImageId?: string;
  /** Of a server that boots from a volume: the image that its creator named all the same. Absent: none. */
  readonly namedId?: string;
}

/** Nova's vm_state values that this product uses. */
export type VmState =
  | 'building'
  | 'active'
  | 'paused'
  | 'suspended'
  | 'rescued'
  | 'stopped'
  | 'resized'
  | 'shelved'
  | 'shelved_offloaded'
  | 'soft-delete'
  | 'error'
  | 'deleted';

/** Nova's task_state values that this product uses; null: nothing is going on. */
export type TaskState =
  | 'scheduling'
  | 'spawning'
  | 'powering-on'
  | 'powering-off'
  | 'pausing'
  | 'unpausing'
  | 'suspending'
  | 'resuming'
  | 'rebuilding'
  | 'rescuing'
  | 'unrescuing'
  | 'rebooting'
  | 'rebooting_hard'
  | 'image_snapshot'
  | 'image_backup'
  | 'image_uploading'
  | 'shelving'
  | 'shelving_image_uploading'
  | 'shelving_offloading'
  | 'unshelving'
  | 'resize_prep'
  | 'resize_migrating'
  | 'resize_migrated'
  | 'resize_finish'
  | 'resize_reverting'
  | 'soft-deleting'
  | 'restoring'
  | 'deleting';

/** Nova's power_state codes (nova/compute/power_state.py). */
export const POWER_STATE = { NOSTATE: 0, RUNNING: 1, PAUSED: 3, SHUTDOWN: 4 } as const;
export type PowerState = (typeof POWER_STATE)[keyof typeof POWER_STATE];

export type MigrationType = 'resize' | 'migration' | 'evacuation';
export type MigrationStatus =
  | 'pre-migrating'
  | 'migrating'
  | 'post-migrating'
  | 'finished'
  | 'confirming'
  | 'confirmed'
  | 'reverting'
  | 'reverted'
  /** Of an evacuation. */
  | 'done'
  | 'error';

/** Amounts of Placement's resource classes; absent means zero. */
export interface Resources {
  readonly VCPU?: number;
  readonly MEMORY_MB?: number;
  readonly DISK_GB?: number;
}
export type ResourceClass = keyof Resources;
export const RESOURCE_CLASSES: readonly ResourceClass[] = ['VCPU', 'MEMORY_MB', 'DISK_GB'];

/** What a provider has of one class. Capacity = (total - reserved) * allocationRatio. */
export interface Inventory {
  readonly total: number;
  readonly reserved: number;
  readonly allocationRatio: number;
}

/** What a valid token says of who asks. */
export interface Principal {
  readonly userId: string;
  /** Null for a token that is not a project's. */
  readonly projectId: string | null;
  /** The domain of the token's project; absent: the default one. */
  readonly projectDomainId?: string;
  /** Of a domain's token. */
  readonly domainId?: string;
  /** The token is one for the whole system. */
  readonly systemScope?: boolean;
  readonly roles: readonly string[];
}

/** Who asks: taken from the token, passed to every use case. */
export interface Actor extends Omit<Principal, 'projectId'> {
  /** Empty for a token that is not a project's. */
  readonly projectId: string;
  readonly requestId: string;
  /** Whether the policy makes an administrator of them; absent: whoever has the role is one. */
  readonly admin?: boolean;
}
export const isAdmin = (actor: Actor): boolean => actor.admin ?? actor.roles.includes('admin');

/** A definite no to a request: the HTTP status and the sentence that OpenStack's API gives. */
export interface Refusal {
  readonly code: 400 | 403 | 404 | 406 | 409 | 413 | 503;
  readonly message: string;
}

/** A fault as the API shows it. */
export interface Fault {
  readonly code: number;
  readonly message: string;
  readonly details: string | null;
  readonly createdAt: number;
}

/** Who locked a server: somebody of its project, or an administrator from elsewhere. */
export type LockedBy = 'owner' | 'admin';

/** A server as its home cell records it. Times in milliseconds since the Unix epoch. */
export interface Server {
  readonly id: string;
  readonly name: string;
  readonly hostname: string;
  readonly description: string | null;
  readonly projectId: string;
  readonly userId: string;
  readonly image: ImageSnapshot;
  readonly flavor: Flavor;
  readonly oldFlavor: Flavor | null;
  readonly vmState: VmState;
  readonly taskState: TaskState | null;
  readonly oldVmState: 'active' | 'stopped' | null;
  /** The image that its shelving made; null: it is not shelved, or boots from a volume. */
  readonly shelvedImageId: string | null;
  readonly powerState: PowerState;
  readonly progress: number;
  readonly sagaId: string | null;
  /** Counts up whenever a saga lets go of the server: what was planned from an earlier one may be no longer so. */
  readonly revision: number;
  readonly host: string | null;
  readonly zone: string | null;
  readonly requestedZone: string | null;
  readonly keyName: string | null;
  /** base64 */
  readonly userData: string | null;
  readonly configDrive: ConfigDrive | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly locked: boolean;
  /** Null when it is not locked. */
  readonly lockedBy: LockedBy | null;
  readonly lockedReason: string | null;
  readonly diskConfig: 'AUTO' | 'MANUAL';
  readonly reservationId: string;
  /** Its place among the servers that one request made. */
  readonly launchIndex: number;
  /** What the owner says it is reached at; Crosscell does nothing with them. */
  readonly accessIpV4: string | null;
  readonly accessIpV6: string | null;
  readonly fault: Fault | null;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly launchedAt: number | null;
  readonly deletedAt: number | null;
}
