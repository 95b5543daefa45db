// Records by their tags, which stand in a column as a list in JSON (`["a","b"]`, as JSON.stringify writes it).
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { holdsEntry } from './dialect.ts';

/** Each given list of tags: all of them, one of them, not all of them, none of them. */
export interface TagFilter {
  readonly all?: readonly string[];
  readonly any?: readonly string[];
  readonly notAll?: readonly string[];
  readonly none?: readonly string[];
}

export function tagConditions(column: string, tags: TagFilter): RawBuilder<SqlBool>[] {
  const has = (tag: string) => holdsEntry(column, JSON.stringify(tag));
  const all = (list: readonly string[]) => sql<SqlBool>`(${sql.join(list.map(has), sql` and `)})`;
  const any = (list: readonly string[]) => sql<SqlBool>`(${sql.join(list.map(has), sql` or `)})`;
  return [
    ...(tags.all ? [all(tags.all)] : []),
    ...(tags.any ? [any(tags.any)] : []),
    ...(tags.notAll ? [sql<SqlBool>`not ${all(tags.notAll)}`] : []),
    ...(tags.none ? [sql<SqlBool>`not ${any(tags.none)}`] : []),
  ];
}
