// Records by their tags, which stand in a column as a list in JSON (`["a","b"]`, as JSON.stringify writes it).
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { holdsText } from './dialect.ts';

/** Each given list of tags: all of them, one of them, not all of them, none of them. */
export interface TagFilter {
  readonly all?: readonly string[];
  readonly any?: readonly string[];
  readonly notAll?: readonly string[];
  readonly none?: readonly string[];
}

/**
 * A tag is in the list when its own JSON is, as the first or behind a comma: within another tag its quotes would be
 * escaped.
 */
const holdsTag = (column: string, tag: string): RawBuilder<SqlBool> =>
  sql`(${holdsText(column, `[${JSON.stringify(tag)}`)} or ${holdsText(column, `,${JSON.stringify(tag)}`)})`;

export function tagConditions(column: string, tags: TagFilter): RawBuilder<SqlBool>[] {
  const has = (tag: string) => holdsTag(column, tag);
  const all = (list: readonly string[]) => sql<SqlBool>`(${sql.join(list.map(has), sql` and `)})`;
  const any = (list: readonly string[]) => sql<SqlBool>`(${sql.join(list.map(has), sql` or `)})`;
  return [
    ...(tags.all ? [all(tags.all)] : []),
    ...(tags.any ? [any(tags.any)] : []),
    ...(tags.notAll ? [sql<SqlBool>`not ${all(tags.notAll)}`] : []),
    ...(tags.none ? [sql<SqlBool>`not ${any(tags.none)}`] : []),
  ];
}
