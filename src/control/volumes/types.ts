// Volume types: a name and extra specs, of which two mean something here: `multiattach` (`<is> True`: its volumes may be
// attached to several servers at once) and `volume_backend_name` (the storage host that its volumes go to). Others are
// kept as they are. The type __DEFAULT__ is there when it is first asked for and cannot be deleted. A type that is not
// public is for administrators and the projects that it is open to (type-access.ts).
import type { Kysely, Selectable } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { badRequest, conflict } from '../../model/refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { isTrueSpec, MULTIATTACH_SPEC, typeNotFound } from '../../model/volumes.ts';
import { exclusively } from '../../store/dialect.ts';
import { fixed } from '../../store/fixed.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';
import { typesOfProject } from './type-access.ts';

export interface VolumeType {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly isPublic: boolean;
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly createdAt: number;
}

const DEFAULT_TYPE = '__DEFAULT__';
const MOST_TYPES = 1000;

const typeOf = (row: Selectable<GlobalTables['volume_types']>): VolumeType => ({
  id: row.id,
  name: row.name,
  description: row.description,
  isPublic: row.is_public === 1,
  extraSpecs: JSON.parse(row.extra_specs_json) as Record<string, string>,
  createdAt: row.created_at,
});

export const isMultiattach = (type: VolumeType): boolean => isTrueSpec(type.extraSpecs[MULTIATTACH_SPEC]);

/** The type of volumes for which none is named. */
export async function defaultVolumeType(p: Platform): Promise<VolumeType> {
  const db = p.stores.global;
  const known = await byName(db, DEFAULT_TYPE);
  if (known) return known;
  await db
    .insertInto('volume_types')
    .values({
      ...{ id: newId(), name: DEFAULT_TYPE, description: 'Default Volume Type', is_public: 1 },
      ...{ extra_specs_json: '{}', created_at: p.clock.now() },
    })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  const made = await byName(db, DEFAULT_TYPE);
  if (!made) throw new Error('the default volume type was deleted while it was made');
  return made;
}

/** All types, newest first, as Cinder lists them. */
export async function listVolumeTypes(p: Platform, actor: Actor): Promise<VolumeType[]> {
  await defaultVolumeType(p);
  const rows = await p.stores.global
    .selectFrom('volume_types')
    .selectAll()
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(MOST_TYPES)
    .execute();
  const open = await typesOfProject(p, actor.projectId);
  return rows.map(typeOf).filter((type) => type.isPublic || isAdmin(actor) || open.has(type.id));
}

/** Every type by its id, for views of many volumes. */
export async function volumeTypesById(p: Platform): Promise<ReadonlyMap<string, VolumeType>> {
  const rows = await p.stores.global.selectFrom('volume_types').selectAll().limit(MOST_TYPES).execute();
  return new Map(rows.map((row) => [row.id, typeOf(row)]));
}

/** The type of a volume, whoever asks. */
export async function volumeTypeById(p: Platform, id: string): Promise<VolumeType | null> {
  const row = await p.stores.global.selectFrom('volume_types').selectAll().where('id', '=', id).executeTakeFirst();
  return row ? typeOf(row) : null;
}

/** By id or, failing that, by name; null when there is none that the actor may use. */
export async function findVolumeType(p: Platform, actor: Actor, idOrName: string): Promise<VolumeType | null> {
  if (idOrName === DEFAULT_TYPE) return defaultVolumeType(p);
  const type = (await volumeTypeById(p, idOrName)) ?? (await byName(p.stores.global, idOrName));
  if (!type || type.isPublic || isAdmin(actor)) return type;
  return (await typesOfProject(p, actor.projectId)).has(type.id) ? type : null;
}

async function byName(db: Kysely<GlobalTables>, name: string): Promise<VolumeType | null> {
  const [row] = (await BY_NAME(db, { name })).rows;
  return row ? typeOf(row) : null;
}

const BY_NAME = fixed<GlobalTables, { readonly name: string }, Selectable<GlobalTables['volume_types']>>(
  (db, { name }) => db.selectFrom('volume_types').selectAll().where('name', '=', name),
);

export type TypeResult =
  | { readonly kind: 'ok'; readonly type: VolumeType }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export async function createVolumeType(p: Platform, wish: Omit<VolumeType, 'id' | 'createdAt'>): Promise<TypeResult> {
  const type: VolumeType = { ...wish, id: newId(), createdAt: p.clock.now() };
  return p.stores.global.transaction().execute(async (trx): Promise<TypeResult> => {
    await exclusively(trx, 'volume types');
    if (await byName(trx, wish.name)) {
      return { kind: 'refused', refusal: conflict(`Volume Type ${wish.name} already exists.`) };
    }
    const { count } = await trx
      .selectFrom('volume_types')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow();
    if (Number(count) >= MOST_TYPES) {
      return { kind: 'refused', refusal: badRequest(`There are ${MOST_TYPES} volume types, which is the most.`) };
    }
    await trx
      .insertInto('volume_types')
      .values({
        ...{ id: type.id, name: type.name, description: type.description, is_public: type.isPublic ? 1 : 0 },
        ...{ extra_specs_json: JSON.stringify(type.extraSpecs), created_at: type.createdAt },
      })
      .execute();
    return { kind: 'ok', type };
  });
}

/** Changes what is given; `extraSpecs` replaces all of them, made from the present ones. */
export async function updateVolumeType(
  p: Platform,
  id: string,
  change: {
    readonly name?: string;
    readonly description?: string | null;
    readonly isPublic?: boolean;
    readonly extraSpecs?: (present: Readonly<Record<string, string>>) => Readonly<Record<string, string>>;
  },
): Promise<TypeResult> {
  return p.stores.global.transaction().execute(async (trx): Promise<TypeResult> => {
    await exclusively(trx, 'volume types');
    const row = await trx.selectFrom('volume_types').selectAll().where('id', '=', id).executeTakeFirst();
    if (!row) return { kind: 'refused', refusal: typeNotFound(id) };
    const named = change.name === undefined ? null : await byName(trx, change.name);
    if (named && named.id !== id) {
      return { kind: 'refused', refusal: conflict(`Volume Type ${named.name} already exists.`) };
    }
    const present = typeOf(row);
    const type: VolumeType = {
      ...present,
      name: change.name ?? present.name,
      description: change.description === undefined ? present.description : change.description,
      isPublic: change.isPublic ?? present.isPublic,
      extraSpecs: change.extraSpecs?.(present.extraSpecs) ?? present.extraSpecs,
    };
    await trx
      .updateTable('volume_types')
      .set({
        ...{ name: type.name, description: type.description, is_public: type.isPublic ? 1 : 0 },
        extra_specs_json: JSON.stringify(type.extraSpecs),
      })
      .where('id', '=', id)
      .execute();
    return { kind: 'ok', type };
  });
}

/** 400 while volumes are of this type, and for the default type. */
export async function deleteVolumeType(p: Platform, id: string): Promise<Refusal | null> {
  return p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, 'volume types');
    const row = await trx.selectFrom('volume_types').select('name').where('id', '=', id).executeTakeFirst();
    if (!row) return typeNotFound(id);
    if (row.name === DEFAULT_TYPE) {
      return badRequest(`The volume type ${id} is a default volume type and cannot be deleted.`);
    }
    const used = await trx.selectFrom('volumes').select('id').where('type_id', '=', id).limit(1).executeTakeFirst();
    if (used)
      return badRequest(
        `Target volume type is still in use. Volume Type ${id} deletion is not allowed with volumes present with the type.`,
      );
    await trx.deleteFrom('volume_types').where('id', '=', id).execute();
    return null;
  });
}
