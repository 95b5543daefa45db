// What a host remembers of each server, and where.
//
// Theory of operation. One record per server ever seen, written by the agent alone and always before the effect that
// it announces. `guest` is null when only the generation is known: fenced, or destroyed (a tombstone). Tombstones stay
// for good (about 150 bytes each), because a fence that is forgotten is no fence.
// On disk each record is one JSON file, replaced as a whole: written aside, fsynced, renamed, directory fsynced. A
// record that cannot be read stops the agent from starting: guessing would break fencing, so an operator must decide.
import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { messageOf } from '../lib/errors.ts';
import { isUuid } from '../lib/ids.ts';
import { GuestSpec, GuestVolume, ServerId } from './contract.ts';

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
    /** SHA-256 of the imported bytes, until the guest's first start. */
    importDigest: Nullable(Type.String()),
    /** What was asked for last; what is true, only the hypervisor knows. */
    power: Type.Union([Type.Literal('on'), Type.Literal('off')]),
    /** When the process was last started, ms since epoch. */
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
    guest: Nullable(GuestBody),
  },
  { additionalProperties: false },
);
export type GuestRecord = Static<typeof GuestRecord>;

/** `save` resolves when the record would survive a power cut (as far as the store promises that at all). */
export interface Records {
  load(): Promise<GuestRecord[]>;
  save(record: GuestRecord): Promise<void>;
}

/** Records that live as long as the object: for simulated hosts. */
export class MemoryRecords implements Records {
  readonly #records = new Map<string, string>();

  async load(): Promise<GuestRecord[]> {
    return [...this.#records.values()].map((text) => JSON.parse(text) as GuestRecord);
  }

  async save(record: GuestRecord): Promise<void> {
    // Kept as text: what is saved must not change when the agent's own object does.
    this.#records.set(record.serverId, JSON.stringify(record));
  }
}

const recordCheck = Compile(GuestRecord);
/** A record is a few KiB; anything larger is not ours. */
const RECORD_LIMIT = 1024 * 1024;

/** Records as files under `directory` (mode 0700: the guests' own user must not reach them). */
export class DurableRecords implements Records {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async load(): Promise<GuestRecord[]> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const records: GuestRecord[] = [];
    for (const file of await readdir(this.#directory)) {
      const path = join(this.#directory, file);
      if (file.endsWith('.new')) {
        // Left by a save that was cut short; the record it would have replaced is still the valid one.
        await unlink(path);
        continue;
      }
      const serverId = file.slice(0, -'.json'.length);
      if (!file.endsWith('.json') || !isUuid(serverId)) throw new Error(`${path} does not belong here`);
      records.push(await readRecord(path, serverId));
    }
    return records;
  }

  async save(record: GuestRecord): Promise<void> {
    const path = join(this.#directory, `${record.serverId}.json`);
    await writeFileAtomically(path, `${JSON.stringify(record)}\n`, 0o600);
  }
}

async function readRecord(path: string, serverId: string): Promise<GuestRecord> {
  const text = await readFile(path, 'utf8');
  if (text.length > RECORD_LIMIT) throw new Error(`record ${path} is too large`);
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw new Error(`record ${path} is damaged: ${messageOf(error)}`, { cause: error });
  }
  if (!recordCheck.Check(record) || record.serverId !== serverId) throw new Error(`record ${path} is damaged`);
  return record;
}

/** Replaces `path` as a whole: after a power cut there is the old content or the new, never something between. */
export async function writeFileAtomically(path: string, text: string, mode: number): Promise<void> {
  const aside = `${path}.new`;
  const file = await open(aside, 'w', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncDirectory(join(path, '..'));
}

/** Makes renames and deletions in `directory` survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
