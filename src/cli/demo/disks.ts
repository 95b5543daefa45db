// Guests' disks, seen from outside: read from the hosts' own directories, without asking host, guest or control plane.
//
// On QEMU the guest's journal is taken out of its root disk and judged (guest/journal*.ts). Simulated guests have no
// disk to read: then there is no journal, and what stands in its place is the digest that both hosts computed.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Journal, longestGapMs, verifyChain } from '../../../guest/journal.ts';
import { readJournal } from '../../../guest/journal-reader.ts';
import { namesIn } from '../../host/qemu/disk-files.ts';
import { isCode } from '../../host/qemu/proc.ts';

export interface JournalState {
  readonly journal: Journal;
  readonly entries: number;
  /** Digest of the last line: whoever has it can tell whether all that came before is unchanged. */
  readonly head: string;
  readonly cpus: number;
  readonly memKb: number;
}

export type DiskReading =
  | { readonly kind: 'journal'; readonly state: JournalState }
  | { readonly kind: 'broken'; readonly reason: string };

export class Disks {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The journal on the server's disk on that host, and whether it is whole. */
  async journal(host: string, serverId: string): Promise<DiskReading> {
    const reading = await readJournal(this.#disk(host, serverId), 'qcow2', join(this.#directory, 'tmp'));
    if (!reading.ok) return { kind: 'broken', reason: reading.reason };
    const { journal } = reading;
    const verdict = verifyChain(journal);
    if (!verdict.ok) return { kind: 'broken', reason: `line ${verdict.at}: ${verdict.reason}` };
    const last = journal.entries.at(-1);
    if (last === undefined) return { kind: 'broken', reason: 'the journal is empty' };
    const { head, count: entries } = verdict;
    return { kind: 'journal', state: { journal, entries, head, cpus: last.cpus, memKb: last.memKb } };
  }

  /** Names of what the host's directory still holds of the server (a fencing record alone is not counted). */
  async remains(host: string, serverId: string): Promise<string[]> {
    const state = join(this.#directory, 'hosts', host);
    const files = (await namesIn(join(state, 'guests', serverId))).map((name) => `guests/${serverId}/${name}`);
    const logs = (await namesIn(join(state, 'logs'))).filter((name) => name.startsWith(serverId));
    const record = await this.#record(host, serverId);
    return [
      ...files,
      ...logs.map((name) => `logs/${name}`),
      ...(record?.guest ? [`records/${serverId}.json knows a guest`] : []),
    ];
  }

  /** When the host last started the server's guest, by its own record; null: never. */
  async startedAt(host: string, serverId: string): Promise<number | null> {
    return (await this.#record(host, serverId))?.guest?.startedAt ?? null;
  }

  /** SHA-256 of the disk's file (the overlay, without its base); null where there is no such file. */
  async digest(host: string, serverId: string): Promise<string | null> {
    try {
      const hash = createHash('sha256');
      for await (const chunk of createReadStream(this.#disk(host, serverId))) hash.update(chunk as Buffer);
      return hash.digest('hex');
    } catch (error) {
      if (isCode(error, 'ENOENT')) return null;
      throw error;
    }
  }

  /** Every directory of a guest on any host. */
  async guestDirectories(hosts: readonly string[]): Promise<string[]> {
    const all = await Promise.all(
      hosts.map(async (host) =>
        (await namesIn(join(this.#directory, 'hosts', host, 'guests'))).map((name) => `${host}/guests/${name}`),
      ),
    );
    return all.flat();
  }

  #disk(host: string, serverId: string): string {
    return join(this.#directory, 'hosts', host, 'guests', serverId, 'disk.qcow2');
  }

  async #record(host: string, serverId: string): Promise<RecordFile | null> {
    const path = join(this.#directory, 'hosts', host, 'records', `${serverId}.json`);
    try {
      return JSON.parse(await readFile(path, 'utf8')) as RecordFile;
    } catch (error) {
      if (isCode(error, 'ENOENT')) return null;
      throw error;
    }
  }
}

interface RecordFile {
  readonly guest: { readonly startedAt: number | null; readonly importDigest: string | null } | null;
}

/** How long the guest stood still after these entries, ms: the longest gap in its journal from there on. */
export const downtimeMs = (after: JournalState, entriesBefore: number): number | null =>
  longestGapMs(after.journal.entries, entriesBefore)?.gapMs ?? null;
