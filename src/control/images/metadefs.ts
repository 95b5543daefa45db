// Definitions of metadata: which properties images, flavors and so on may have, what they mean and what values they take.
// Dashboards and clients read them; nothing here goes by them.
//
// Theory of operation. A namespace is a row with all that it holds: associations with resource types, properties,
// objects (groups of properties) and tags. Each change reads and writes the row in one transaction. A private namespace
// is there for its owner's project and for administrators alone; who may write is for the rules to say, and then
// whoever owns it, or an administrator. What is protected is changed but not deleted. Source:
// glance/api/v2/metadef_*.py, glance/common/exception.py.
import type { Selectable, Transaction } from 'kysely';
import { type Refused, refuse, refused } from '../../model/refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { exclusively, forUpdate } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';

export const KINDS = ['resource_types', 'properties', 'objects', 'tags'] as const;
export type Kind = (typeof KINDS)[number];

export interface Entry {
  readonly name: string;
  /** As its user gave it, without the name. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly createdAt: number;
  readonly updatedAt: number;
}
export type Content = Readonly<Record<Kind, readonly Entry[]>>;

export interface Namespace {
  readonly name: string;
  readonly owner: string;
  readonly visibility: 'public' | 'private';
  readonly protected: boolean;
  readonly displayName: string | null;
  readonly description: string | null;
  readonly content: Content;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** What there is to associate with from the first start, as in Glance. */
const RESOURCE_TYPES = [
  ...['OS::Glance::Image', 'OS::Cinder::Volume', 'OS::Nova::Flavor', 'OS::Nova::Aggregate', 'OS::Nova::Server'],
] as const;

/** Most namespaces in all, entries of one kind in one of them, and characters of all that one holds. */
const MAX_NAMESPACES = 1000;
const MAX_ENTRIES = 1000;
const MAX_CONTENT = 4 * 1024 * 1024;

export type MetadefResult<T> = { readonly kind: 'ok'; readonly value: T } | Refused;

const no = (code: Refusal['code'], message: string) => refused(refuse(code, message));
const ok = <T>(value: T): MetadefResult<T> => ({ kind: 'ok', value });
const cut = (name: string): string => name.slice(0, 100);
const notFound = (name: string) => no(404, `Metadata definition namespace=${cut(name)} was not found.`);
const duplicate = (name: string) => no(409, `The metadata definition namespace=${cut(name)} already exists.`);
const tooMuch = () =>
  no(413, `A namespace has at most ${MAX_ENTRIES} entries of a kind, and ${MAX_CONTENT} characters.`);

const namespaceOf = (row: Selectable<GlobalTables['metadef_namespaces']>): Namespace => ({
  ...{ name: row.name, owner: row.owner, visibility: row.visibility, protected: row.protected === 1 },
  ...{ displayName: row.display_name, description: row.description },
  content: JSON.parse(row.content_json) as Content,
  ...{ createdAt: row.created_at, updatedAt: row.updated_at },
});

const rowOf = (namespace: Namespace): GlobalTables['metadef_namespaces'] => ({
  ...{ name: namespace.name, owner: namespace.owner, visibility: namespace.visibility },
  ...{ protected: namespace.protected ? 1 : 0, display_name: namespace.displayName },
  ...{ description: namespace.description, content_json: JSON.stringify(namespace.content) },
  ...{ created_at: namespace.createdAt, updated_at: namespace.updatedAt },
});

const maySee = (actor: Actor, namespace: Pick<Namespace, 'owner' | 'visibility'>): boolean =>
  namespace.visibility === 'public' || namespace.owner === actor.projectId || isAdmin(actor);

export interface NamespaceFilter {
  readonly visibility?: 'public' | 'private';
  /** Associated with one of these. */
  readonly resourceTypes?: readonly string[];
  readonly limit: number;
  /** Name of the last one of the page before. */
  readonly marker?: string;
  readonly sortKey: 'created_at' | 'updated_at' | 'namespace';
  readonly descending: boolean;
}

/** Those that the actor sees. Refused: 404 for a marker that is not there. */
export async function listNamespaces(
  p: Platform,
  actor: Actor,
  filter: NamespaceFilter,
): Promise<MetadefResult<readonly Namespace[]>> {
  const key = filter.sortKey === 'namespace' ? 'name' : filter.sortKey;
  const direction = filter.descending ? 'desc' : 'asc';
  let query = p.stores.global.selectFrom('metadef_namespaces').selectAll();
  if (filter.visibility !== undefined) query = query.where('visibility', '=', filter.visibility);
  const rows = await query.orderBy(key, direction).orderBy('name', direction).execute();
  const seen = rows.map(namespaceOf).filter((each) => maySee(actor, each));
  const first = filter.marker === undefined ? 0 : seen.findIndex((each) => each.name === filter.marker) + 1;
  if (filter.marker !== undefined && first === 0) return notFound(filter.marker);
  const { resourceTypes } = filter;
  const wanted = seen.slice(first).filter((each) => {
    const names = each.content.resource_types.map(({ name }) => name);
    return resourceTypes === undefined || names.some((name) => resourceTypes.includes(name));
  });
  return ok(wanted.slice(0, filter.limit));
}

/** What namespaces can be associated with: what was there from the first, and what those that the actor sees are. */
export async function resourceTypes(p: Platform, actor: Actor): Promise<readonly string[]> {
  const all = { limit: MAX_NAMESPACES, sortKey: 'created_at', descending: false } as const;
  const seen = await listNamespaces(p, actor, all);
  const associated = seen.kind === 'ok' ? seen.value.flatMap(({ content }) => content.resource_types) : [];
  return [...new Set([...RESOURCE_TYPES, ...associated.map(({ name }) => name)])];
}

export async function showNamespace(p: Platform, actor: Actor, name: string): Promise<MetadefResult<Namespace>> {
  const row = await p.stores.global
    .selectFrom('metadef_namespaces')
    .selectAll()
    .where('name', '=', name)
    .executeTakeFirst();
  const namespace = row && namespaceOf(row);
  return namespace && maySee(actor, namespace) ? ok(namespace) : notFound(name);
}

/** What a user says of a namespace. */
export interface NamespaceWish {
  readonly name: string;
  readonly owner?: string;
  readonly visibility?: 'public' | 'private';
  readonly protected?: boolean;
  readonly displayName?: string;
  readonly description?: string;
}

const wished = (actor: Actor, wish: NamespaceWish) => ({
  ...{ name: wish.name, owner: wish.owner ?? actor.projectId, visibility: wish.visibility ?? 'private' },
  ...{ protected: wish.protected ?? false, displayName: wish.displayName ?? null },
  description: wish.description ?? null,
});

/** Refused: 409 for a name that is taken, 413. */
export function createNamespace(
  p: Platform,
  actor: Actor,
  wish: NamespaceWish,
  content: Readonly<Record<Kind, readonly Pick<Entry, 'name' | 'body'>[]>>,
): Promise<MetadefResult<Namespace>> {
  const now = p.clock.now();
  const times = { createdAt: now, updatedAt: now };
  return p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, 'metadef namespaces');
    const { count } = await trx
      .selectFrom('metadef_namespaces')
      .select((select) => select.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow();
    if (Number(count) >= MAX_NAMESPACES) return no(413, `There are ${count} namespaces, the most that there may be.`);
    let filled: Content = { resource_types: [], properties: [], objects: [], tags: [] };
    for (const kind of KINDS) {
      const added = withEntries(
        filled,
        wish.name,
        kind,
        content[kind].map((each) => ({ ...each, ...times })),
      );
      if (added.kind === 'refused') return added;
      filled = added.value;
    }
    const namespace: Namespace = { ...wished(actor, wish), content: filled, ...times };
    return (await taken(trx, wish.name)) ? duplicate(wish.name) : write(trx, namespace, null);
  });
}

/** Everything but what it holds. Refused: 403, 404, 409 for a name that is taken. */
export const updateNamespace = (p: Platform, actor: Actor, name: string, wish: NamespaceWish) =>
  change(p, actor, name, async (before, trx) => {
    if (wish.name !== name && (await taken(trx, wish.name))) return duplicate(wish.name);
    return ok({ ...before, ...wished(actor, wish), updatedAt: p.clock.now() });
  });

/** Refused: 403 also while it is protected, 404. */
export const deleteNamespace = (p: Platform, actor: Actor, name: string): Promise<MetadefResult<null>> =>
  p.stores.global.transaction().execute(async (trx) => {
    const held = await hold(trx, actor, name);
    if (held.kind === 'refused') return held;
    const kept = refusedAsProtected(held.value);
    if (kept) return kept;
    await trx.deleteFrom('metadef_namespaces').where('name', '=', name).execute();
    return ok(null);
  });

/** New entries beside those that are there, or in their place. Refused: 403, 404, 409 for a name that is taken, 413. */
export function addEntries(
  p: Platform,
  actor: Actor,
  namespace: string,
  kind: Kind,
  entries: readonly Pick<Entry, 'name' | 'body'>[],
  instead = false,
): Promise<MetadefResult<Namespace>> {
  const now = p.clock.now();
  return change(p, actor, namespace, async (before) => {
    const from = instead ? { ...before.content, [kind]: [] } : before.content;
    const added = entries.map((each) => ({ ...each, createdAt: now, updatedAt: now }));
    const content = withEntries(from, namespace, kind, added);
    return content.kind === 'refused' ? content : ok({ ...before, content: content.value });
  });
}

/** Refused: 404 for the namespace or the entry. */
export async function showEntry(
  p: Platform,
  actor: Actor,
  namespace: string,
  kind: Kind,
  name: string,
): Promise<MetadefResult<Entry>> {
  const shown = await showNamespace(p, actor, namespace);
  if (shown.kind === 'refused') return shown;
  const entry = shown.value.content[kind].find((each) => each.name === name);
  return entry ? ok(entry) : noEntry(kind, namespace, name);
}

/** The entry is another from now on, perhaps by another name. Refused: 403, 404, 409, 413. */
export function updateEntry(
  p: Platform,
  actor: Actor,
  namespace: string,
  kind: Kind,
  name: string,
  entry: Pick<Entry, 'name' | 'body'>,
): Promise<MetadefResult<Namespace>> {
  return change(p, actor, namespace, async (before) => {
    const entries = before.content[kind];
    const old = entries.find((each) => each.name === name);
    if (!old) return noEntry(kind, namespace, name);
    const others = { ...before.content, [kind]: entries.filter((each) => each !== old) };
    const changed = { ...entry, createdAt: old.createdAt, updatedAt: p.clock.now() };
    const content = withEntries(others, namespace, kind, [changed]);
    return content.kind === 'refused' ? content : ok({ ...before, content: content.value });
  });
}

/** `name` null: all of the kind. Refused: 403 also while the namespace is protected, 404. */
export const removeEntries = (p: Platform, actor: Actor, namespace: string, kind: Kind, name: string | null) =>
  change(p, actor, namespace, async (before) => {
    const entries = before.content[kind];
    if (name !== null && !entries.some((each) => each.name === name)) return noEntry(kind, namespace, name);
    const kept = refusedAsProtected(before);
    if (kept) return kept;
    const left = name === null ? [] : entries.filter((each) => each.name !== name);
    return ok({ ...before, content: { ...before.content, [kind]: left } });
  });

type Trx = Transaction<GlobalTables>;

async function taken(trx: Trx, name: string): Promise<boolean> {
  const row = await trx.selectFrom('metadef_namespaces').select('name').where('name', '=', name).executeTakeFirst();
  return row !== undefined;
}

/** The namespace, which nobody else changes before the transaction ends; the actor may. */
async function hold(trx: Trx, actor: Actor, name: string): Promise<MetadefResult<Namespace>> {
  const row = await trx
    .selectFrom('metadef_namespaces')
    .selectAll()
    .where('name', '=', name)
    .modifyEnd(forUpdate(trx))
    .executeTakeFirst();
  const namespace = row && namespaceOf(row);
  if (!namespace || !maySee(actor, namespace)) return notFound(name);
  const mayWrite = namespace.owner === actor.projectId || isAdmin(actor);
  return mayWrite ? ok(namespace) : no(403, 'You are not authorized to complete this action.');
}

function change(
  p: Platform,
  actor: Actor,
  name: string,
  how: (before: Namespace, trx: Trx) => Promise<MetadefResult<Namespace>>,
): Promise<MetadefResult<Namespace>> {
  return p.stores.global.transaction().execute(async (trx) => {
    // Before the row: whoever takes a name takes this first, too.
    await exclusively(trx, 'metadef namespaces');
    const held = await hold(trx, actor, name);
    if (held.kind === 'refused') return held;
    const after = await how(held.value, trx);
    return after.kind === 'refused' ? after : write(trx, after.value, name);
  });
}

async function write(trx: Trx, namespace: Namespace, name: string | null): Promise<MetadefResult<Namespace>> {
  const row = rowOf(namespace);
  if (row.content_json.length > MAX_CONTENT) return tooMuch();
  if (name === null) await trx.insertInto('metadef_namespaces').values(row).execute();
  else await trx.updateTable('metadef_namespaces').set(row).where('name', '=', name).execute();
  return ok(namespace);
}

/** Refused: 409 for a name that is there, 413. */
function withEntries(content: Content, namespace: string, kind: Kind, added: readonly Entry[]): MetadefResult<Content> {
  const entries = [...content[kind]];
  if (entries.length + added.length > MAX_ENTRIES) return tooMuch();
  // Glance compares names of tags as its database does.
  const keyOf = (name: string): string => (kind === 'tags' ? name.toLowerCase() : name);
  const names = new Set(entries.map(({ name }) => keyOf(name)));
  for (const entry of added) {
    if (names.has(keyOf(entry.name))) return nameTaken(kind, namespace, entry.name);
    names.add(keyOf(entry.name));
    entries.push(entry);
  }
  return ok({ ...content, [kind]: entries });
}

const WORDS = { properties: 'property', objects: 'object', tags: 'tag' } as const;

function nameTaken(kind: Kind, namespace: string, name: string) {
  if (kind === 'resource_types')
    return no(
      409,
      `The metadata definition resource-type association of resource-type=${cut(name)} to namespace=${cut(namespace)} already exists.`,
    );
  if (kind === 'tags')
    return no(
      409,
      `A metadata tag with name=${cut(name)} already exists in namespace=${cut(namespace)}. (Please note that metadata tag names are case insensitive).`,
    );
  return no(
    409,
    `A metadata definition ${WORDS[kind]} with name=${cut(name)} already exists in namespace=${cut(namespace)}.`,
  );
}

const noEntry = (kind: Kind, namespace: string, name: string) =>
  no(
    404,
    kind === 'resource_types'
      ? `Failed to find resource type ${cut(name)} to delete`
      : `The metadata definition ${WORDS[kind]} with name=${cut(name)} was not found in namespace=${cut(namespace)}.`,
  );

const refusedAsProtected = (namespace: Namespace) =>
  namespace.protected
    ? no(403, `Metadata definition namespace ${cut(namespace.name)} is protected and cannot be deleted.`)
    : null;
