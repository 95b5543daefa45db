// What is still to be made of images in a Glance: the ledger that publisher.ts works off.
//
// Theory of operation. `glance_writes` has a row for each image of ours whose state in Glance is not known to be the last:
//   (no row) ── announced ──> making ── it has its data in Glance ──> (no row)
//   making | (no row) ── turned back ──> unfinished ── settled ──> (no row): gone from Glance, unless it has its data there
//   making | unfinished | (no row) ── given up ──> unwanted ── settled ──> (no row): gone from Glance
// Announced before Glance is asked for it, given up in the transaction that gives up the record here: so nothing is made
// in Glance, and nothing left there, that is not on record. Only images that are mirrors have a place in Glance, so where
// images are our own no row is ever written.
import { sql, type Transaction } from 'kysely';
import { invariant } from '../../lib/errors.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';

const FATES = ['making', 'unfinished', 'unwanted'] as const;
export type Fate = (typeof FATES)[number];

export interface GlanceWrite {
  readonly imageId: string;
  readonly fate: Fate;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

export async function announceWrite(p: Platform, imageId: string): Promise<void> {
  const row = { image_id: imageId, fate: 'making', created_at: p.clock.now() };
  await p.stores.global.insertInto('glance_writes').values(row).execute();
}

/** Those of the images that are mirrors are to go from Glance. Before their records go. */
export async function giveUpInGlance(
  trx: Transaction<GlobalTables>,
  imageIds: readonly string[],
  fate: 'unfinished' | 'unwanted',
  now: number,
): Promise<void> {
  await trx
    .insertInto('glance_writes')
    .columns(['image_id', 'fate', 'created_at'])
    .expression((from) =>
      from
        .selectFrom('image_mirrors')
        .select([
          'image_id',
          sql<string>`cast(${fate} as text)`.as('fate'),
          sql<number>`cast(${now} as bigint)`.as('at'),
        ])
        .where('image_id', 'in', imageIds),
    )
    .onConflict((any) => any.column('image_id').doUpdateSet({ fate }))
    .execute();
}

/** These are, whether they are mirrored here or not. */
export async function unwantedInGlance(
  trx: Transaction<GlobalTables>,
  imageIds: readonly string[],
  now: number,
): Promise<void> {
  if (imageIds.length === 0) return;
  const fate = 'unwanted';
  await trx
    .insertInto('glance_writes')
    .values(imageIds.map((image_id) => ({ image_id, fate, created_at: now })))
    .onConflict((any) => any.column('image_id').doUpdateSet({ fate }))
    .execute();
}

/** Nothing is left to be made of it, if that is still its fate. */
export async function settledWrite(p: Platform, imageId: string, fate: Fate): Promise<void> {
  await p.stores.global.deleteFrom('glance_writes').where('image_id', '=', imageId).where('fate', '=', fate).execute();
}

/** What is to go from Glance: given up, or announced by that time and never recorded here. The oldest first. */
export async function dueWrites(p: Platform, announcedBefore: number, limit: number): Promise<GlanceWrite[]> {
  const rows = await p.stores.global
    .selectFrom('glance_writes')
    .selectAll()
    .where(({ or, and, eb, not, exists, selectFrom }) =>
      or([
        eb('fate', '<>', 'making'),
        and([
          eb('created_at', '<=', announcedBefore),
          not(exists(selectFrom('images').select('images.id').whereRef('images.id', '=', 'glance_writes.image_id'))),
        ]),
      ]),
    )
    .orderBy('created_at')
    .orderBy('image_id')
    .limit(limit)
    .execute();
  return rows.map(({ image_id: imageId, fate, created_at: since }) => ({ imageId, fate: fateOf(fate), since }));
}

function fateOf(text: string): Fate {
  const fate = FATES.find((each) => each === text);
  invariant(fate, `no image in Glance has the fate ${text}`);
  return fate;
}
