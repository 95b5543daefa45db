// Names that lists are asked for, whole or in part, as Keystone's inexact filters (keystone/common/driver_hints.py).
import { type RawBuilder, type SqlBool, sql } from 'kysely';

/** What a name has in it, at its beginning or at its end. */
export interface NamePart {
  readonly at: 'contains' | 'startswith' | 'endswith';
  readonly text: string;
  /** Whether `A` and `a` are the same; on SQLite those of ASCII alone. */
  readonly anyCase: boolean;
}

export interface NameFilter {
  readonly name?: string;
  readonly nameParts?: readonly NamePart[];
}

/** Whether the row's `name` is what is asked for; yes when nothing is. */
export function isNamed({ name, nameParts = [] }: NameFilter): RawBuilder<SqlBool> {
  const whole = name === undefined ? [] : [sql<SqlBool>`name = ${name}`];
  const all = [...whole, ...nameParts.flatMap((part) => (part.text === '' ? [] : [hasPart(part)]))];
  return all.length === 0 ? sql`1 = 1` : sql`(${sql.join(all, sql` and `)})`;
}

function hasPart({ at, text, anyCase }: NamePart): RawBuilder<SqlBool> {
  const name = anyCase ? sql<string>`lower(name)` : sql<string>`name`;
  const part = anyCase ? sql<string>`lower(${text})` : sql<string>`${text}`;
  const length = [...text].length;
  switch (at) {
    case 'contains':
      return sql`replace(${name}, ${part}, '') <> ${name}`;
    case 'startswith':
      return sql`substr(${name}, 1, ${length}) = ${part}`;
    case 'endswith':
      // SQLite counts from the end where the beginning is below 1.
      return sql`(length(${name}) >= ${length} and substr(${name}, length(${name}) - ${length} + 1) = ${part})`;
  }
}
