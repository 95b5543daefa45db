// What a host remembers of each server, and where.
//
// Theory of operation. One record per server ever seen, written by the agent alone and always before the effect that
// it announces. `guest` is null when only the generation is known: fenced, or destroyed (a tombstone). Tombstones stay
// for good (about 150 bytes each), because a fence that is forgotten is no fence.
// On disk each record is one JSON file (record-files.ts).
import { type Static, Type } from 'typebox';
import { GuestSpec, GuestVolume, ServerId } from './contract.ts';
import { RecordFiles, type Records as RecordStore, VolatileRecords, type writeFileAtomically } from './record-files.ts';

const Nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** An open export's secret name and its port, so that a reader finds it again after a restart of the agent. */
export const SavedExport = Type.Object(
  { name: Type.String({ pattern: '^[0-9a-f]{32}$' }), port: Type.Integer({ minimum: 1, maximum: 65535 }) },
  { additionalProperties: false },
);
export type SavedExport = Static<typeof SavedExport>;

export const GuestBody = Type.Object(
  {
    spec: GuestSpec,
    /** Where the root disk comes from: made here, or imported; `none`: it is a volume. */
    origin: Type.Union([Type.Literal('fresh'), Type.Literal('incoming'), Type.Literal('none')]),
    /** `missing` until the disk is whole; what lies there meanwhile is rubbish. */
    disk: Type.Union([Type.Literal('missing'), Type.Literal('ready')]),
    /** With their keys, which is one reason why nobody else may read records. Sorted by device. */
    volumes: Type.Array(GuestVolume, { maxItems: 26 }),
    /** SHA-256 of the imported bytes, until something is done that changes them: a start, a growth, another disk. */
    importDigest: Nullable(Type.String()),
    /** What was asked for last; what is true, only the hypervisor knows. */
    power: Type.Union([Type.Literal('on'), Type.Literal('off')]),
    /**
     * What is kept of a guest's memory: nothing; `saved`: all of it, for the next start; `loaded`: a process was started from
     * it, which may have gone on since, so that it is good for nothing any more.
     */
    memory: Type.Union([Type.Literal('none'), Type.Literal('saved'), Type.Literal('loaded')]),
    /** A second root disk; see agent/spare.ts. */
    spare: Nullable(
      Type.Object(
        {
          id: ServerId,
          purpose: Type.Union([Type.Literal('rebuild'), Type.Literal('rescue'), Type.Literal('stable-rescue')]),
          spec: GuestSpec,
          ready: Type.Boolean(),
          used: Type.Boolean(),
        },
        { additionalProperties: false },
      ),
    ),
    /** When the process that runs, or ran last, was started, ms since epoch; null: none has been seen up since it was to start. */
    startedAt: Nullable(Type.Integer()),
    exported: Nullable(SavedExport),
    /** The guest is turned off at this time, ms since epoch, unless it is kept before; null: it is kept. */
    probationUntil: Nullable(Type.Integer()),
    /** A destroy has begun; it will be finished, whatever happens. */
    destroying: Type.Boolean(),
  },
  { additionalProperties: false },
);
export type GuestBody = Static<typeof GuestBody>;

export const GuestRecord = Type.Object(
  {
    version: Type.Literal(1),
    serverId: ServerId,
    /** The highest generation seen; 0: none yet. */
    generation: Type.Integer({ minimum: 0 }),
    /** The generation of the last destroy; 0: never destroyed. */
    destroyedGeneration: Type.Integer({ minimum: 0 }),
    /** Hosts that have read the disk, at this generation: an open for one of them was delayed on its way. */
    closedTo: Type.Array(Type.String()),
    guest: Nullable(GuestBody),
  },
  { additionalProperties: false },
);
export type GuestRecord = Static<typeof GuestRecord>;

export type Records = RecordStore<GuestRecord>;

const idOf = ({ serverId }: GuestRecord): string => serverId;

/** Records that live as long as the object: for simulated hosts. */
export class MemoryRecords extends VolatileRecords<GuestRecord> {
  constructor() {
    super(idOf);
  }
}

/** Records as files under `directory`. */
export class DurableRecords extends RecordFiles<typeof GuestRecord> {
  constructor(directory: string, write?: typeof writeFileAtomically) {
    super(directory, GuestRecord, idOf, write);
  }
}
