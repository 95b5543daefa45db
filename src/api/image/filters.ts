// Filters of the list of images, in Glance's words (glance/common/utils.py, split_filter_op): some take `in:a,"b,c"`, and
// the times `gt:`, `gte:`, `lt:`, `lte:`, `eq:` or `neq:` before them.
//
// Differs: what stands before a colon and is no such word is part of the value, so that `ubuntu:24.04` is a name; Glance
// refuses it.
import type { Static } from 'typebox';
import { type ExactColumn, type ImageFilter, TIME_KEYS, type TimeSpan } from '../../control/images/listing.ts';
import { parseTime } from '../../model/time.ts';
import { badRequest } from '../http/errors.ts';
import { ListQuery } from './schemas.ts';

const KNOWN = new Set(Object.keys(ListQuery.properties));

/** Whatever else is asked for is a property's value. */
const propertiesIn = (query: Static<typeof ListQuery>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(query).flatMap(([key, value]) => (KNOWN.has(key) ? [] : [[key, String(value)] as const])),
  );

/** The values that `in:…` or `eq:…` lists; those with commas in them stand in quotes. */
function valuesIn(text: string): readonly string[] {
  if (text.startsWith('eq:')) return [text.slice(3)];
  if (!text.startsWith('in:')) return [text];
  return [...text.slice(3).matchAll(/"((?:[^"\\]|\\.)*)"|([^,"]+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

/** Times are told in whole seconds, and compared so. */
const SECOND_MS = 1000;
const EVER = { from: 0, before: Number.MAX_SAFE_INTEGER, outside: false } as const;
const SPANS: Readonly<Record<string, (at: number) => Omit<TimeSpan, 'key'>>> = {
  gt: (at) => ({ ...EVER, from: at + SECOND_MS }),
  gte: (at) => ({ ...EVER, from: at }),
  lt: (at) => ({ ...EVER, before: at }),
  lte: (at) => ({ ...EVER, before: at + SECOND_MS }),
  eq: (at) => ({ ...EVER, from: at, before: at + SECOND_MS }),
  neq: (at) => ({ from: at, before: at + SECOND_MS, outside: true }),
};

function spanOf(key: TimeSpan['key'], text: string): TimeSpan {
  const [, word = 'eq', time = ''] = /^(?:(gte?|lte?|eq|neq):)?(.*)$/s.exec(text) ?? [];
  const at = parseTime(time);
  const span = SPANS[word];
  if (at === null || !span) throw badRequest(`Bad "${key}" query filter format. Use ISO 8601 DateTime notation.`);
  return { key, ...span(at - (at % SECOND_MS)) };
}

const EXACT = {
  ...{ min_ram: 'min_ram_mb', min_disk: 'min_disk_gb', virtual_size: 'virtual_bytes' },
  ...{ checksum: 'md5', os_hash_value: 'sha512' },
} as const satisfies Record<string, ExactColumn>;

/** Refused: 400 for a time that is none. */
export function filterOf(query: Static<typeof ListQuery>): ImageFilter {
  const flag = (text: string): boolean => /^([Tt]rue|1)$/.test(text);
  return {
    ...(query.id === undefined ? {} : { id: valuesIn(query.id) }),
    ...(query.name === undefined ? {} : { name: valuesIn(query.name) }),
    ...(query.status === undefined ? {} : { status: valuesIn(query.status) }),
    ...(query.visibility === undefined ? {} : { visibility: query.visibility }),
    ...(query.owner === undefined ? {} : { owner: query.owner }),
    ...(query.disk_format === undefined ? {} : { diskFormat: valuesIn(query.disk_format) }),
    ...(query.container_format === undefined ? {} : { containerFormat: valuesIn(query.container_format) }),
    ...(query.protected === undefined ? {} : { protected: flag(query.protected) }),
    ...(query.os_hidden === undefined ? {} : { hidden: flag(query.os_hidden) }),
    ...(query.tag === undefined ? {} : { tags: query.tag }),
    ...(query.size === undefined ? {} : { minSize: query.size, maxSize: query.size }),
    ...(query.size_min === undefined ? {} : { minSize: query.size_min }),
    ...(query.size_max === undefined ? {} : { maxSize: query.size_max }),
    ...(query.member_status === undefined ? {} : { memberStatus: query.member_status }),
    exactly: Object.fromEntries(
      Object.entries(EXACT).flatMap(([name, column]) => {
        const value = query[name as keyof typeof EXACT];
        return value === undefined ? [] : [[column, value]];
      }),
    ),
    times: TIME_KEYS.flatMap((key) => {
      const text = query[key];
      return text === undefined ? [] : [spanOf(key, text)];
    }),
    properties: propertiesIn(query),
  };
}
