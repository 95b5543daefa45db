// Which servers a list shows: Nova's filters as predicates on records, and its sort keys. Pure.
//
// Most filters are regular expressions in Nova. One that could take very long to match is compared as plain text instead.
import type { Static } from 'typebox';
import { shownImageOf } from '../../model/disk-image.ts';
import { isoSeconds } from '../../model/time.ts';
import type { Server } from '../../model/types.ts';
import { booleanOf } from './common.ts';
import { strict, type Wish } from './server-query.ts';
import type { ListQuery } from './server-schemas.ts';
import { ROOT_DEVICE } from './server-view.ts';

export type Query = Static<typeof ListQuery>;
type Test = (server: Server) => boolean;

/** All that the wish asks of a server itself. Of what the record may leave open, nothing is found. */
export function serverTest({ query, states, changesBefore }: Pick<Wish, 'query' | 'states' | 'changesBefore'>): Test {
  const tests: Test[] = [];
  const where = (value: unknown, test: Test): void => {
    if (value !== undefined) tests.push(test);
  };
  const like = (source: string | undefined, textOf: (server: Server) => string | null): void => {
    if (source === undefined) return;
    const isLike = search(source);
    tests.push((server) => {
      const text = textOf(server);
      return text !== null && isLike(text);
    });
  };
  if (states)
    tests.push((server) => states.some((each) => each.vm === server.vmState && each.task === server.taskState));
  else {
    where(query.vm_state, (server) => server.vmState === query.vm_state);
    where(query.task_state, (server) => server.taskState === query.task_state);
  }
  // Clients say what they were shown, which is whole seconds, as Nova keeps it.
  where(changesBefore, ({ updatedAt }) => updatedAt - (updatedAt % 1000) <= (changesBefore ?? 0));
  const image = query.image ?? query.image_ref;
  where(image, (server) => shownImageOf(server.image) === image);
  where(query.flavor, (server) => server.flavor.flavorId === query.flavor);
  where(query.uuid, (server) => server.id === query.uuid);
  where(query.user_id, (server) => server.userId === query.user_id);
  where(query.host, (server) => server.host === query.host);
  const locked = query.locked === undefined ? undefined : strict(query.locked);
  where(locked, (server) => server.locked === locked);
  const drive = booleanOf(query.config_drive);
  if (drive !== null) tests.push((server) => (server.configDrive !== null) === drive);
  else like(query.config_drive, (server) => (server.configDrive === null ? '' : 'True'));

  like(query.name ?? query.display_name, (server) => server.name);
  like(query.description ?? query.display_description, (server) => server.description);
  like(query.node, (server) => server.host);
  like(query.hostname, (server) => server.hostname);
  like(query.availability_zone, (server) => server.zone);
  like(query.key_name, (server) => server.keyName);
  like(query.reservation_id, (server) => server.reservationId);
  like(query.launch_index, (server) => String(server.launchIndex));
  like(query.power_state, (server) => String(server.powerState));
  like(query.progress, (server) => String(server.progress));
  like(query.locked_by, (server) => server.lockedBy);
  like(query.access_ip_v4, (server) => server.accessIpV4);
  like(query.access_ip_v6, (server) => server.accessIpV6);
  like(query.auto_disk_config, (server) => (server.diskConfig === 'AUTO' ? 'AUTO 1' : 'MANUAL 0'));
  like(query.root_device_name, () => ROOT_DEVICE);
  // No server here has a kernel or an initial RAM disk beside its image.
  like(query.kernel_id, () => '');
  like(query.ramdisk_id, () => '');
  like(query.created_at, (server) => timeText(server.createdAt));
  like(query.launched_at, (server) => timeText(server.launchedAt));
  like(query.terminated_at, (server) => timeText(server.deletedAt));
  const tags = (value: string | undefined): string[] => value?.split(',') ?? [];
  where(query.tags, (server) => tags(query.tags).every((tag) => server.tags.includes(tag)));
  where(query['tags-any'], (server) => tags(query['tags-any']).some((tag) => server.tags.includes(tag)));
  where(query['not-tags'], (server) => !tags(query['not-tags']).every((tag) => server.tags.includes(tag)));
  where(query['not-tags-any'], (server) => !tags(query['not-tags-any']).some((tag) => server.tags.includes(tag)));
  return (server) => tests.every((test) => test(server));
}

/** A time as the API shows it and, behind it, as Nova's database does: patterns are written for either. */
const timeText = (time: number | null): string | null =>
  time === null ? null : `${isoSeconds(time)} ${isoSeconds(time).replace('T', ' ').replace('Z', '')}`;

/** As the database's REGEXP; a pattern that could take long, or is none of JavaScript's, is looked for as plain text. */
function search(source: string): (text: string) => boolean {
  const pattern = safePattern(source);
  return pattern ? (text) => pattern.test(text) : (text) => text.includes(source);
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
