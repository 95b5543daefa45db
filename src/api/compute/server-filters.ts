// Which servers a list shows: Nova's filters as predicates on records, and its sort keys. Pure.
//
// `name` is a regular expression in Nova. One that could take very long to match is compared as plain text instead.
import type { Static } from 'typebox';
import { shownImageOf } from '../../model/disk-image.ts';
import { statesOf } from '../../model/states.ts';
import type { Server } from '../../model/types.ts';
import { booleanOf } from './common.ts';
import type { ListQuery } from './server-schemas.ts';

export type Query = Static<typeof ListQuery>;
type Test = (server: Server) => boolean;

/** All that the query asks of a server itself; `admin` opens the filters that users may not use. */
export function serverTest(query: Query, admin: boolean): Test {
  const tests: Test[] = [];
  const where = (value: unknown, test: Test): void => {
    if (value !== undefined) tests.push(test);
  };
  const name = query.name ?? query.display_name;
  const named = name === undefined ? null : safePattern(name);
  where(name, (server) => named?.test(server.name) ?? server.name.includes(name ?? ''));
  const states = (query.status ?? []).flatMap(statesOf);
  where(query.status, (server) => states.some((each) => each.vm === server.vmState && each.task === server.taskState));
  where(query.flavor, (server) => server.flavor.flavorId === query.flavor);
  where(query.image, (server) => shownImageOf(server.image) === query.image);
  where(query.availability_zone, (server) => server.zone === query.availability_zone);
  where(query.uuid, (server) => server.id === query.uuid);
  where(query.user_id, (server) => server.userId === query.user_id);
  where(query.key_name, (server) => server.keyName === query.key_name);
  where(query.description, (server) => (server.description ?? '').includes(query.description ?? ''));
  where(query.reservation_id, (server) => server.reservationId === query.reservation_id);
  where(query.hostname, (server) => server.hostname === query.hostname);
  where(query.vm_state, (server) => server.vmState === query.vm_state);
  where(query.power_state, (server) => server.powerState === query.power_state);
  const locked = booleanOf(query.locked);
  if (locked !== null) tests.push((server) => server.locked === locked);
  if (admin) {
    where(query.task_state, (server) => server.taskState === query.task_state);
    where(query.node, (server) => server.host === query.node);
    where(query.host, (server) => server.host === query.host);
  }
  const tags = (value: string | undefined): string[] => value?.split(',') ?? [];
  where(query.tags, (server) => tags(query.tags).every((tag) => server.tags.includes(tag)));
  where(query['tags-any'], (server) => tags(query['tags-any']).some((tag) => server.tags.includes(tag)));
  where(query['not-tags'], (server) => !tags(query['not-tags']).every((tag) => server.tags.includes(tag)));
  where(query['not-tags-any'], (server) => !tags(query['not-tags-any']).some((tag) => server.tags.includes(tag)));
  return (server) => tests.every((test) => test(server));
}

/** `ip` looks at IPv4 addresses and `ip6` at IPv6 ones, from their beginning; either will do. Null: neither is asked for. */
export function addressTest({ ip, ip6 }: Pick<Query, 'ip' | 'ip6'>): ((address: string) => boolean) | null {
  if (ip === undefined && ip6 === undefined) return null;
  const [four, six] = [beginning(ip), beginning(ip6)];
  return (address) => (address.includes(':') ? six(address) : four(address));
}

/** As Python's re.match; a pattern that could take long is compared as plain text. Absent: nothing begins with it. */
function beginning(source: string | undefined): (text: string) => boolean {
  if (source === undefined) return () => false;
  const pattern = safePattern(source);
  if (!pattern) return (text) => text.startsWith(source.replace(/^\^/, '').replaceAll('\\', ''));
  const sticky = new RegExp(pattern.source, 'uy');
  return (text) => {
    sticky.lastIndex = 0;
    return sticky.test(text);
  };
}

/** Branches and optional parts multiply: this many make at most 16 ways to try. */
const MOST_CHOICES = 4;

/**
 * The pattern, when it matches in at worst quadratic time on names of 255 characters: no repeated or looking-around
 * groups, no back references, one repetition (two where it can only match from the beginning), few choices. Null: compare
 * as plain text.
 */
export function safePattern(source: string): RegExp | null {
  const plain = source.replaceAll(/\\[^1-9k]/g, '_').replaceAll(/\[[^\]]*\]/g, '_');
  if (/\)[*+{?]/.test(plain) || /\(\?/.test(plain) || plain.includes('\\')) return null;
  const count = (pattern: RegExp): number => plain.match(pattern)?.length ?? 0;
  const anchored = plain.startsWith('^') && !plain.includes('|');
  // A question mark behind a repetition makes it lazy; branches outside of groups are tried one after the other.
  const choices = count(/(?<![*+}])\?/g) + (plain.includes('(') ? count(/\|/g) : 0);
  if (count(/[*+{]/g) > (anchored ? 2 : 1) || choices > MOST_CHOICES) return null;
  return compilable(source);
}

function compilable(source: string): RegExp | null {
  // Python and MySQL let every punctuation mark be escaped; here only those with a meaning may be.
  const known = source.replaceAll(
    /\\([^A-Za-z0-9^$\\.*+?()[\]{}|/])/gu,
    (_all, mark: string) => `\\u{${(mark.codePointAt(0) ?? 0).toString(16)}}`,
  );
  try {
    return new RegExp(known, 'u');
  } catch {
    // Not a regular expression: the caller compares it as text.
    return null;
  }
}

/** Sorted as asked; without a wish newest first. */
export function sorted(servers: readonly Server[], query: Query): Server[] {
  const keys = query.sort_key ?? [];
  if (keys.length === 0) {
    const ascending = query.sort_dir?.[0] === 'asc';
    return ascending ? servers.toReversed() : [...servers];
  }
  return servers.toSorted((a, b) => {
    for (const [index, key] of keys.entries()) {
      const order = compare(sortValue(a, key), sortValue(b, key));
      if (order !== 0) return query.sort_dir?.[index] === 'asc' ? order : -order;
    }
    return compare(a.id, b.id);
  });
}

type SortValue = string | number;
const compare = (a: SortValue, b: SortValue): number => (a < b ? -1 : a > b ? 1 : 0);

function sortValue(server: Server, key: string): SortValue {
  switch (key) {
    case 'created_at':
      return server.createdAt;
    case 'updated_at':
      return server.updatedAt;
    case 'launched_at':
      return server.launchedAt ?? 0;
    case 'terminated_at':
      return server.deletedAt ?? 0;
    case 'display_name':
      return server.name;
    case 'display_description':
      return server.description ?? '';
    case 'hostname':
      return server.hostname;
    case 'uuid':
      return server.id;
    case 'host':
    case 'node':
      return server.host ?? '';
    case 'availability_zone':
      return server.zone ?? '';
    case 'image_ref':
      return shownImageOf(server.image) ?? '';
    case 'instance_type_id':
      return server.flavor.flavorId;
    case 'key_name':
      return server.keyName ?? '';
    case 'vm_state':
      return server.vmState;
    case 'task_state':
      return server.taskState ?? '';
    case 'power_state':
      return server.powerState;
    case 'progress':
      return server.progress;
    case 'project_id':
      return server.projectId;
    case 'user_id':
      return server.userId;
    case 'locked':
      return server.locked ? 1 : 0;
    default:
      // The rest is the same for all servers here.
      return 0;
  }
}
