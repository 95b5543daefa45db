// What all records of the network service have (Neutron's standard attributes): description, tags, a revision that grows
// with every change, and two times.
import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { GlobalTables } from '../../store/global-schema.ts';

export type Db = Kysely<GlobalTables>;

export interface Standard {
  readonly id: string;
  readonly projectId: string;
  readonly description: string;
  readonly tags: readonly string[];
  readonly revision: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface StandardRow {
  readonly id: string;
  readonly project_id: string;
  readonly description: string;
  readonly tags_json: string;
  readonly revision: number;
  readonly created_at: number;
  readonly updated_at: number;
}

export const standardOf = (row: StandardRow): Standard => ({
  id: row.id,
  projectId: row.project_id,
  description: row.description,
  tags: listOf(row.tags_json),
  revision: Number(row.revision),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

/** The revision of a record that is changed. */
export const NEXT: RawBuilder<number> = sql<number>`revision + 1`;

/** To be set with every change of a record. */
export const changed = (now: number): { updated_at: number; revision: RawBuilder<number> } => ({
  updated_at: now,
  revision: NEXT,
});

/** A column that holds a list as JSON. */
export const listOf = <T = string>(json: string): T[] => JSON.parse(json) as T[];

export const flag = (value: boolean): number => (value ? 1 : 0);

/** The given values of a wish under the names of their columns; what was not given is left out. */
export const given = <V, C extends object>(value: V | undefined, columns: (value: V) => C): C | Record<never, never> =>
  value === undefined ? {} : columns(value);

/** Counts the project's rows of a table. */
export async function countOf(
  db: Db,
  table: 'networks' | 'subnets' | 'ports' | 'routers' | 'floating_ips' | 'security_groups' | 'security_group_rules',
  projectId: string,
): Promise<number> {
  const { count } = await db
    .selectFrom(table)
    .select((select) => select.fn.countAll<number>().as('count'))
    .where('project_id', '=', projectId)
    .executeTakeFirstOrThrow();
  return Number(count);
}
