// What every use case needs: databases, time, hosts, logs and settings. Assembled once, in cli/compose.ts; the
// simulation assembles its own.
import type { Logger } from 'pino';
import type { Host } from '../host/contract.ts';
import type { Clock } from '../lib/clock.ts';
import type { NetworkList } from '../lib/networks.ts';
import type { WeightMultipliers } from '../model/weighers.ts';
import type { KeystoneProjects } from '../openstack/projects.ts';
import type { Direction, Outcome, Row } from '../saga/types.ts';
import type { StorageHost } from '../storage/contract.ts';
import type { Stores } from '../store/stores.ts';
import type { WebDownloadSettings } from './images/download.ts';
import type { ImageFiles } from './images/files.ts';
import type { ImageMirror } from './images/mirror.ts';
import type { NetworkService } from './network/service.ts';
import type { PlacementService } from './placement/service.ts';
import type { Policies } from './policies.ts';
import type { VolumeService } from './volumes/service.ts';

export interface Settings {
  /** Region name in the catalog. */
  readonly region: string;
  /** URL under which users reach the API, without a trailing slash. */
  readonly publicUrl: string;
  /** URL under which hosts fetch image data, without a trailing slash. */
  readonly hostFacingUrl: string;
  /** Proxies that are believed when they say where a request comes from. */
  readonly trustedProxies: NetworkList;
  /** Origins of the dashboards that may show a console in a frame. */
  readonly consoleFrameAncestors: readonly string[];
  /** Directory of image files. */
  readonly imageDirectory: string;
  /** Most bytes of one uploaded image. */
  readonly maxImageBytes: number;
  readonly webDownload: WebDownloadSettings;
  /** Zone of hosts that are in no aggregate with a zone. */
  readonly defaultZone: string;
  /** Whether every new server gets a config drive. */
  readonly forceConfigDrive: boolean;
  /** Seconds after which a finished resize is confirmed by itself; 0: never. */
  readonly resizeConfirmWindowSeconds: number;
  /** Seconds for which a deleted server can be restored; 0: it is gone at once (and a soft-deleted one stays). */
  readonly reclaimInstanceIntervalSeconds: number;
  /** Seconds after which a shelved server leaves its host; 0: at once; negative: only when asked to. */
  readonly shelvedOffloadTimeSeconds: number;
  /** Days for which records of what is over are kept; 0: for ever. */
  readonly historyRetentionDays: number;
  /** Seconds a guest gets to shut down by itself before it is turned off. */
  readonly shutdownTimeoutSeconds: number;
  /** Seconds without a heartbeat after which a host counts as down. */
  readonly hostDownSeconds: number;
  /** Seconds between two heartbeats asked of a host. */
  readonly heartbeatSeconds: number;
  /** Allocation ratios and reserved amounts that new hosts start with. */
  readonly inventory: {
    readonly cpuAllocationRatio: number;
    readonly ramAllocationRatio: number;
    readonly diskAllocationRatio: number;
    readonly reservedHostCpus: number;
    readonly reservedHostMemoryMb: number;
    readonly reservedHostDiskGb: number;
  };
  readonly weights: WeightMultipliers;
  /** How many hosts a build or a move tries, one after the other, before it gives up; at least 1. */
  readonly maxAttempts: number;
  /** How many hosts a choice looks at, at first; at least 1. */
  readonly maxCandidates: number;
  /** Limits for projects without their own; -1: unlimited. */
  readonly quota: Readonly<Record<string, number>>;
}

/** Stands around the effect of a saga's step: has it, and answers what came of it. */
export type Around = (row: Row, step: string, direction: Direction, effect: () => Promise<Outcome>) => Promise<Outcome>;

export interface Platform {
  readonly clock: Clock;
  readonly log: Logger;
  readonly stores: Stores;
  readonly settings: Settings;
  readonly policies: Policies;
  /** The host of that name. Never fails: a host that is not there answers `unreachable`. */
  host(name: string, trace?: { readonly requestId: string; readonly sagaId: string }): Promise<Host>;
  /** The storage host of that name; never fails either. */
  storage(name: string, trace?: { readonly requestId: string; readonly sagaId: string }): Promise<StorageHost>;
  /** Tells the conductors of this process that there may be work. */
  nudge(): void;
  /** Absent: those in the settings' directory. */
  readonly imageFiles?: ImageFiles;
  /** Absent: images are our own. */
  readonly imageMirror?: ImageMirror;
  /** Absent: ports are in the records here alone. */
  readonly network?: NetworkService;
  /** Absent: volumes are our own. */
  readonly volumes?: VolumeService;
  /** Absent: projects are our own. */
  readonly projects?: KeystoneProjects;
  /** Absent: allocations are in the records here alone. */
  readonly placement?: PlacementService;
  /** Absent: effects are had as they are. */
  readonly around?: Around;
}
