// The contract between the control plane and a compute host, imported by both sides.
//
// Theory of operation. Every mutating call is PUT-shaped: "be in this state, at this generation". Repeating it is
// harmless and is also how its progress is polled: no call lasts longer than a few seconds; work that takes longer is
// a job on the host, and the same call answers `pending` with its progress until it is `done` or `failed`.
// Fencing: for each server a host remembers the highest generation it has seen, also after the guest is gone, and
// refuses anything older with `fenced`. Generations come from one sequence that only grows.
// The host knows no database and no cell. It never acts on its own on a guest's desired state: a guest that stopped is
// reported stopped; only a call starts it again.
import { type Static, Type } from 'typebox';

export const ServerId = Type.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' });
export const ImageId = ServerId;
const Generation = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });

/** Answer to every call that may take long. `done`/`total` in bytes (0/0 when unknown). */
export const Job = Type.Object(
  {
    state: Type.Union([Type.Literal('pending'), Type.Literal('done'), Type.Literal('failed')]),
    doneBytes: Bytes,
    totalBytes: Bytes,
    /** Why it failed; one sentence for operators. Only with `failed`. */
    reason: Type.Optional(Type.String({ maxLength: 4096 })),
  },
  { additionalProperties: false },
);
export type Job = Static<typeof Job>;

/** A base image: the file's own digest and size, and where the host may fetch it from (a control plane URL). */
export const BaseImage = Type.Object(
  {
    id: ImageId,
    format: Type.Union([Type.Literal('qcow2'), Type.Literal('raw')]),
    sizeBytes: Bytes,
    virtualBytes: Bytes,
    sha256: Sha256,
    /** http(s) URL of the bytes; the host authenticates with the fleet secret. */
    url: Type.String({ maxLength: 2048, pattern: '^https?://' }),
  },
  { additionalProperties: false },
);
export type BaseImage = Static<typeof BaseImage>;

export const GuestPort = Type.Object(
  {
    id: ServerId,
    mac: Type.String({ pattern: '^([0-9a-f]{2}:){5}[0-9a-f]{2}$' }),
    ip: Type.String({ format: 'ipv4', maxLength: 15 }),
    /** The subnet, e.g. 10.0.0.0/24, and its gateway: what user-mode networking shows the guest. */
    cidr: Type.String({ maxLength: 18, pattern: '^[0-9.]+/[0-9]+$' }),
    gateway: Type.String({ format: 'ipv4', maxLength: 15 }),
  },
  { additionalProperties: false },
);
export type GuestPort = Static<typeof GuestPort>;

/** Where a guest's root disk is: an overlay of `bytes` on a base image, kept by the host, or a volume. */
export const GuestRoot = Type.Union([
  Type.Object(
    {
      kind: Type.Literal('image'),
      image: BaseImage,
      /** Size of the root disk; never smaller than the base image's virtual size. */
      bytes: Bytes,
    },
    { additionalProperties: false },
  ),
  Type.Object({ kind: Type.Literal('volume') }, { additionalProperties: false }),
]);
export type GuestRoot = Static<typeof GuestRoot>;

/**
 * Most characters of a file of a config drive. What a tenant has put there comes in one request to the API, of 1 MiB at
 * most, and a third longer in base64; then there are the key, and what is known of ports and volumes.
 */
export const MAX_CONFIG_FILE = 2 * 1024 * 1024;
export const MAX_CONFIG_FILES = 4;

/** A file of a guest's config drive; content in base64. */
export const ConfigFile = Type.Object(
  {
    path: Type.String({ pattern: '^openstack/latest/[a-z0-9_]{1,20}([.][a-z0-9]{1,8})?$' }),
    content: Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: MAX_CONFIG_FILE }),
  },
  { additionalProperties: false },
);
export type ConfigFile = Static<typeof ConfigFile>;

/** Most ports of one guest. */
export const MAX_PORTS = 16;

/** What a guest is made of, volumes apart. */
export const GuestSpec = Type.Object(
  {
    name: Type.String({ maxLength: 255 }),
    vcpus: Type.Integer({ minimum: 1, maximum: 1024 }),
    memoryMb: Type.Integer({ minimum: 1, maximum: 64 * 1024 * 1024 }),
    root: GuestRoot,
    ports: Type.Array(GuestPort, { maxItems: MAX_PORTS }),
    /** With these the guest has a read-only disk that is labelled config-2; absent: it has none. */
    configDrive: Type.Optional(Type.Array(ConfigFile, { minItems: 1, maxItems: MAX_CONFIG_FILES })),
  },
  { additionalProperties: false },
);
export type GuestSpec = Static<typeof GuestSpec>;

/**
 * Be prepared: base image cached, room claimed, record written. `fresh`: with a new overlay of root.bytes.
 * `incoming`: with no disk yet; importDisk brings it. `none`: with no disk of its own, which goes with a root volume and
 * with nothing else.
 */
export const DefineRequest = Type.Object(
  {
    generation: Generation,
    spec: GuestSpec,
    disk: Type.Union([Type.Literal('fresh'), Type.Literal('incoming'), Type.Literal('none')]),
  },
  { additionalProperties: false },
);
export type DefineRequest = Static<typeof DefineRequest>;

/** Whoever starts a guest on probation keeps it, or has given it up, within an hour. */
export const MOST_PROBATION_SECONDS = 3600;

/**
 * Be on, off or suspended. Off asks the guest first (ACPI) and pulls the plug after `graceSeconds`; what it had in memory is
 * lost, also if that had been kept. Suspended: what a running guest has in memory is kept on the host, and its process is
 * gone; `refused` when it is off and nothing is kept. On: it runs, from where it was when something is kept.
 */
export const PowerRequest = Type.Object(
  {
    generation: Generation,
    power: Type.Union([Type.Literal('on'), Type.Literal('off'), Type.Literal('suspended')]),
    graceSeconds: Type.Integer({ minimum: 0, maximum: 3600 }),
    /**
     * With `on`: the guest is on probation. Unless it is asked for once more without this within so many seconds, the
     * host turns it off by itself, also when nobody can reach it. So whoever started it and lost sight of the host knows
     * after that time that it does not run.
     */
    probationSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_PROBATION_SECONDS })),
  },
  { additionalProperties: false },
);
export type PowerRequest = Static<typeof PowerRequest>;

/** Have a running guest's processors stand still, or go on. */
export const PauseRequest = Type.Object(
  { generation: Generation, paused: Type.Boolean() },
  { additionalProperties: false },
);
export type PauseRequest = Static<typeof PauseRequest>;

/** `reader`: the host that is to read the disk; behind its close it is not opened for that host again at this generation. */
export const ExportRequest = Type.Object(
  { generation: Generation, reader: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })) },
  { additionalProperties: false },
);
export type ExportRequest = Static<typeof ExportRequest>;

export const GenerationRequest = Type.Object({ generation: Generation }, { additionalProperties: false });
export type GenerationRequest = Static<typeof GenerationRequest>;

/** Be gone. `remains`: also the files of one that this host has no record of, which it keeps otherwise. */
export const DestroyRequest = Type.Object(
  { generation: Generation, remains: Type.Optional(Type.Boolean()) },
  { additionalProperties: false },
);
export type DestroyRequest = Static<typeof DestroyRequest>;

/** Where another host can read a stopped guest's root overlay: NBD, read-only, under a secret export name. */
export const DiskExport = Type.Object(
  {
    host: Type.String({ maxLength: 255, pattern: '^[0-9A-Za-z.:-]+$' }),
    port: Type.Integer({ minimum: 1, maximum: 65535 }),
    name: Type.String({ pattern: '^[0-9a-f]{32}$' }),
    /** Length of the overlay file, and how much of it is allocated: the most that a copy moves. */
    sizeBytes: Bytes,
    allocatedBytes: Bytes,
  },
  { additionalProperties: false },
);
export type DiskExport = Static<typeof DiskExport>;

/** Have the root overlay of this export as own disk (guest defined with `incoming`). */
export const ImportRequest = Type.Object(
  { generation: Generation, source: DiskExport },
  { additionalProperties: false },
);
export type ImportRequest = Static<typeof ImportRequest>;

/** Have a root disk of at least this many bytes (never shrinks). */
export const GrowRequest = Type.Object({ generation: Generation, rootBytes: Bytes }, { additionalProperties: false });
export type GrowRequest = Static<typeof GrowRequest>;

/**
 * Have a second root disk beside the own one, new and empty on the image of `spec`. `rebuild`: to take the own one's
 * place, with `spec` as the guest's specification; `rescue`: to be booted from, with the own one as second disk;
 * `stable-rescue`: the same, but as the last of all disks, so that the others stay where they were. `spareId` names it.
 */
export const SpareRequest = Type.Object(
  {
    generation: Generation,
    spareId: ServerId,
    purpose: Type.Union([Type.Literal('rebuild'), Type.Literal('rescue'), Type.Literal('stable-rescue')]),
    spec: GuestSpec,
  },
  { additionalProperties: false },
);
export type SpareRequest = Static<typeof SpareRequest>;

/** Have the guest's next start be from this spare disk, or from its own. */
export const UseSpareRequest = Type.Object(
  { generation: Generation, spareId: ServerId, used: Type.Boolean() },
  { additionalProperties: false },
);
export type UseSpareRequest = Static<typeof UseSpareRequest>;

/** Have no such spare disk. */
export const DropSpareRequest = Type.Object(
  { generation: Generation, spareId: ServerId },
  { additionalProperties: false },
);
export type DropSpareRequest = Static<typeof DropSpareRequest>;

/** `sha256` (with `done`) is over the overlay file's bytes, which a copy must reproduce exactly. */
export const DigestJob = Type.Object(
  { ...Job.properties, sha256: Type.Optional(Sha256) },
  { additionalProperties: false },
);
export type DigestJob = Static<typeof DigestJob>;

/** A snapshot of a guest's root disk: a file of its own that stands on nothing, named by its taker. */
export const SnapshotRequest = Type.Object(
  { generation: Generation, snapshotId: ServerId },
  { additionalProperties: false },
);
export type SnapshotRequest = Static<typeof SnapshotRequest>;

/** Send the snapshot's file to this URL of the control plane, with a PUT. */
export const UploadRequest = Type.Object(
  { generation: Generation, snapshotId: ServerId, url: BaseImage.properties.url },
  { additionalProperties: false },
);
export type UploadRequest = Static<typeof UploadRequest>;

const Mode = Type.Union([Type.Literal('rw'), Type.Literal('ro')]);

/** NBD with TLS-PSK (RFC 4279), `user` and `key` (hex) good for this attachment only. */
export const VolumeOverNbd = Type.Object(
  {
    kind: Type.Literal('nbd'),
    host: Type.String({ maxLength: 255, pattern: '^[0-9A-Za-z.:-]+$' }),
    port: Type.Integer({ minimum: 1, maximum: 65535 }),
    exportName: Type.String({ maxLength: 128, pattern: '^[0-9a-z-]+$' }),
    user: Type.String({ maxLength: 128, pattern: '^[0-9a-z-]+$' }),
    key: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    mode: Mode,
    sizeBytes: Bytes,
  },
  { additionalProperties: false },
);
export type VolumeOverNbd = Static<typeof VolumeOverNbd>;

/** A file on a share that every host has mounted, where its operator says: `share` is its name, such as 10.0.0.5:/volumes. */
export const VolumeOnShare = Type.Object(
  {
    kind: Type.Literal('share'),
    share: Type.String({ maxLength: 1024, pattern: '^[0-9A-Za-z][0-9A-Za-z._:/-]*$' }),
    file: Type.String({ maxLength: 255, pattern: '^[0-9A-Za-z][0-9A-Za-z._-]*$' }),
    format: Type.Union([Type.Literal('raw'), Type.Literal('qcow2')]),
    mode: Mode,
    sizeBytes: Bytes,
  },
  { additionalProperties: false },
);
export type VolumeOnShare = Static<typeof VolumeOnShare>;

/** How a guest reaches a volume. */
export const VolumeConnection = Type.Union([VolumeOverNbd, VolumeOnShare]);
export type VolumeConnection = Static<typeof VolumeConnection>;

/** A volume as a guest has it. At most one of a guest has a given device, or a given boot index. */
export const GuestVolume = Type.Object(
  {
    volumeId: ServerId,
    attachmentId: ServerId,
    /** Where it is plugged in. How a guest names it is the guest's choice; the serial number is the id's beginning. */
    device: Type.String({ pattern: '^/dev/vd[a-z]$' }),
    /** 0: the root volume of a guest that boots from one. null: never booted from. */
    bootIndex: Type.Union([Type.Integer({ minimum: 0, maximum: 25 }), Type.Null()]),
    connection: VolumeConnection,
  },
  { additionalProperties: false },
);
export type GuestVolume = Static<typeof GuestVolume>;

/** Have this volume. */
export const AttachRequest = Type.Object(
  { generation: Generation, volume: GuestVolume },
  { additionalProperties: false },
);
export type AttachRequest = Static<typeof AttachRequest>;

/** Do not have this volume. */
export const DetachRequest = Type.Object(
  { generation: Generation, volumeId: ServerId },
  { additionalProperties: false },
);
export type DetachRequest = Static<typeof DetachRequest>;

/** Be told that the volume has this many bytes (never fewer than before). */
export const GrowVolumeRequest = Type.Object(
  { generation: Generation, volumeId: ServerId, sizeBytes: Bytes },
  { additionalProperties: false },
);
export type GrowVolumeRequest = Static<typeof GrowVolumeRequest>;

/** Have a network card for this port. */
export const AttachPortRequest = Type.Object(
  { generation: Generation, port: GuestPort },
  { additionalProperties: false },
);
export type AttachPortRequest = Static<typeof AttachPortRequest>;

/** Do not have one. */
export const DetachPortRequest = Type.Object(
  { generation: Generation, portId: ServerId },
  { additionalProperties: false },
);
export type DetachPortRequest = Static<typeof DetachPortRequest>;

export const Guest = Type.Object(
  {
    serverId: ServerId,
    generation: Generation,
    power: Type.Union([Type.Literal('on'), Type.Literal('off')]),
    /** It is off, and its next start goes on from what it had in memory. */
    suspended: Type.Boolean(),
    /** True when the disk is there (not only announced as incoming), or not needed. */
    disk: Type.Boolean(),
    spec: GuestSpec,
    /** Without their connections, which hold keys. */
    volumes: Type.Array(
      Type.Object(
        { volumeId: ServerId, attachmentId: ServerId, device: GuestVolume.properties.device },
        { additionalProperties: false },
      ),
    ),
    /** A second root disk. `used`: a guest that runs does so from it, one that is off starts from it. */
    spare: Type.Union([
      Type.Null(),
      Type.Object(
        { id: ServerId, purpose: SpareRequest.properties.purpose, used: Type.Boolean() },
        { additionalProperties: false },
      ),
    ]),
    /** When the guest's process was last started, ms since epoch; null: never on this host. */
    startedAt: Type.Union([Type.Integer(), Type.Null()]),
    /** It was to run when this agent started, and was not found running: its host restarted, or it ended unseen. */
    interrupted: Type.Boolean(),
  },
  { additionalProperties: false },
);
export type Guest = Static<typeof Guest>;

/** What a running guest has used since it was started, as far as its hypervisor tells. */
export const Diagnostics = Type.Object(
  {
    paused: Type.Boolean(),
    uptimeSeconds: Type.Integer({ minimum: 0 }),
    cpus: Type.Array(Type.Object({ id: Type.Integer({ minimum: 0 }), timeNs: Bytes }, { additionalProperties: false })),
    memoryMb: Type.Object({ maximum: Type.Integer(), used: Type.Integer() }, { additionalProperties: false }),
    disks: Type.Array(
      Type.Object(
        {
          /** `vda`, or `root`, `rescue`, `config`: a disk of the host's own. */
          name: Type.String({ maxLength: 64 }),
          readBytes: Bytes,
          readRequests: Bytes,
          writeBytes: Bytes,
          writeRequests: Bytes,
          errors: Bytes,
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type Diagnostics = Static<typeof Diagnostics>;

export const HostDescription = Type.Object(
  {
    name: Type.String(),
    hypervisorType: Type.String(),
    hypervisorVersion: Type.Integer(),
    accelerator: Type.Union([Type.Literal('kvm'), Type.Literal('tcg'), Type.Literal('none')]),
    architecture: Type.String(),
    vcpus: Type.Integer(),
    memoryMb: Type.Integer(),
    diskGb: Type.Integer(),
    /** How long it has been up, in whole seconds, and how loaded it was over 1, 5 and 15 minutes. */
    upSeconds: Type.Integer({ minimum: 0 }),
    loads: Type.Array(Type.Number({ minimum: 0 }), { minItems: 3, maxItems: 3 }),
  },
  { additionalProperties: false },
);
export type HostDescription = Static<typeof HostDescription>;

/** As with remains. */
export const MAX_STRAYS = 1000;
/** What more there is of a kind is told when some of it is gone. */
export const MAX_REMAINS = 10_000;

export const Heartbeat = Type.Object(
  {
    /** New at every start of the agent. */
    agentId: Type.String(),
    /** Milliseconds since epoch by the host's clock. */
    now: Type.Integer(),
    guests: Type.Array(
      Type.Object(
        {
          serverId: ServerId,
          generation: Generation,
          power: Type.Union([Type.Literal('on'), Type.Literal('off')]),
          suspended: Type.Boolean(),
          /** Its disk can be read from other hosts. */
          exported: Type.Boolean(),
        },
        { additionalProperties: false },
      ),
    ),
    /** Guests of which there are files here and no record: they are kept, and nothing starts them. */
    remains: Type.Array(Type.Object({ serverId: ServerId, bytes: Bytes }, { additionalProperties: false }), {
      maxItems: MAX_REMAINS,
    }),
  },
  { additionalProperties: false },
);
export type Heartbeat = Static<typeof Heartbeat>;

/** What a look at its files shows a host, or a storage host, beside the `remains` that it tells of at every heartbeat. */
export const Files = Type.Object(
  {
    /** Files that must be there by its records and are not. `id`: of the guest or volume. */
    missing: Type.Array(
      Type.Object({ id: ServerId, what: Type.String({ maxLength: 64 }) }, { additionalProperties: false }),
    ),
    /** What belongs to nobody: paths below its state directory, so many at most. */
    strays: Type.Array(Type.String({ maxLength: 1024 }), { maxItems: MAX_STRAYS }),
  },
  { additionalProperties: false },
);
export type Files = Static<typeof Files>;

/**
 * What a call to a host comes to. A lost answer is `unreachable`, which says nothing about whether the call took
 * effect. `refused` is the host's definite no (bad state, no room, hypervisor error); `fenced` means that a newer
 * generation has been seen: the caller has been overtaken and must stop.
 */
export type Reply<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'fenced'; readonly generation: number }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreachable'; readonly reason: string };

/** A compute host as the control plane sees it. Implemented by the agent, by its HTTP client, and by nothing else. */
export interface Host {
  describe(): Promise<Reply<HostDescription>>;
  heartbeat(): Promise<Reply<Heartbeat>>;
  /** Looks at the files of all guests; for the audit. */
  files(): Promise<Reply<Files>>;
  /** The guest as it is now; `absent` when this host has none of that id. */
  guest(serverId: string): Promise<Reply<Guest>>;
  /** Remember this generation: from now on refuse older ones. Has no other effect; also for unknown servers. */
  fence(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>>;
  /** Refused where there are files of it without a record, until they are destroyed. */
  define(serverId: string, request: DefineRequest): Promise<Reply<Job>>;
  setPower(serverId: string, request: PowerRequest): Promise<Reply<Job>>;
  /**
   * A guest that is off is not paused, and `refused` when it is to be. A paused guest is on; one that is started is not
   * paused.
   */
  setPaused(serverId: string, request: PauseRequest): Promise<Reply<Record<string, never>>>;
  openExport(serverId: string, request: ExportRequest): Promise<Reply<DiskExport>>;
  closeExport(serverId: string, request: ExportRequest): Promise<Reply<Record<string, never>>>;
  importDisk(serverId: string, request: ImportRequest): Promise<Reply<Job>>;
  digest(serverId: string, request: GenerationRequest): Promise<Reply<DigestJob>>;
  growDisk(serverId: string, request: GrowRequest): Promise<Reply<Job>>;
  /**
   * Have a copy of the root disk as it is at one moment, also while the guest runs or is paused (crash-consistent). A guest
   * has one snapshot at a time: another takes its place. It does not outlive the agent. A file of QEMU's is qcow2, a
   * simulated one raw.
   */
  takeSnapshot(serverId: string, request: SnapshotRequest): Promise<Reply<Job>>;
  uploadSnapshot(serverId: string, request: UploadRequest): Promise<Reply<Job>>;
  /** Have no snapshot, and none under way. ok if there was none. */
  dropSnapshot(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>>;
  /**
   * A guest that is on has it when the job is done; one that is off has it from its next start. Another attachment or
   * connection of a volume that the guest has takes the old one's place, only while it is off.
   */
  attachVolume(serverId: string, request: AttachRequest): Promise<Reply<Job>>;
  /**
   * A guest that is on has let go of it when the job is done; the job fails when the guest does not heed in time. `done`
   * if the guest never had it or is not here.
   */
  detachVolume(serverId: string, request: DetachRequest): Promise<Reply<Job>>;
  /**
   * A guest that is on sees the volume's new size, which its storage host has made already. Refused when it cannot be told
   * now: then it sees it when it is next started, as one that is off does. `absent`: it does not have the volume.
   */
  growVolume(serverId: string, request: GrowVolumeRequest): Promise<Reply<Record<string, never>>>;
  /** A guest that is on has the network card when the job is done; one that is off has it from its next start. */
  attachPort(serverId: string, request: AttachPortRequest): Promise<Reply<Job>>;
  /** As detachVolume: `done` if the guest never had it or is not here, failed when the guest does not heed in time. */
  detachPort(serverId: string, request: DetachPortRequest): Promise<Reply<Job>>;
  /**
   * Be gone: process dead, jobs cancelled, export closed, disks deleted, generation remembered. `done` if never here, and
   * if there is no record of it, whose files go only when that is asked for.
   * Afterwards a define needs a newer generation than the destroy had, so that a define that was delayed on its way
   * cannot bring back what has been destroyed.
   */
  destroy(serverId: string, request: DestroyRequest): Promise<Reply<Job>>;
  /** Also while the guest runs. Another spare disk than this one is not kept. */
  makeSpare(serverId: string, request: SpareRequest): Promise<Reply<Job>>;
  /** Only while the guest is off; `refused` when it is to be used and is not there. */
  useSpare(serverId: string, request: UseSpareRequest): Promise<Reply<Record<string, never>>>;
  /**
   * One that is used for a rebuild is the guest's own from now on, and the one before is deleted; one that is not used is
   * deleted. `done` if it was never here.
   */
  dropSpare(serverId: string, request: DropSpareRequest): Promise<Reply<Job>>;
  /** Gives the running guest a non-maskable interrupt: one for each call that arrives. */
  injectNmi(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>>;
  /** `refused` when the guest is off. */
  diagnostics(serverId: string): Promise<Reply<Diagnostics>>;
  /** The last `lines` lines of the serial console (all that is kept when undefined). */
  console(serverId: string, lines?: number): Promise<Reply<{ output: string }>>;
}
