// Many servers in the place of one: all that the databases of a system at rest say of a server is written again and again
// for others, under ids of their own.
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { newId } from '../src/lib/ids.ts';

type Row = Readonly<Record<string, SQLInputValue>>;

/** One table's part of what there is of the server. */
interface Part {
  readonly table: string;
  readonly rows: readonly Row[];
}

/** The tables of a database with their rows about any of these ids. */
function partsOf(db: DatabaseSync, ids: readonly string[]): Part[] {
  const tables = db.prepare("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'").all();
  return tables.flatMap(({ name }): Part[] => {
    const rows = (db.prepare(`select * from "${String(name)}"`).all() as Row[]).filter((row) =>
      Object.values(row).some((value) => typeof value === 'string' && ids.some((id) => value.includes(id))),
    );
    return rows.length === 0 ? [] : [{ table: String(name), rows: rows.map(withoutSerial) }];
  });
}

/** Numbers that a table gives its rows itself are given anew. */
function withoutSerial({ id, ...rest }: Row): Row {
  return typeof id === 'string' ? { id, ...rest } : rest;
}

/**
 * Writes `count` copies of the server into the databases, which nobody may have open; those named first have all rows
 * that give ids to others (the global database).
 * @param change what is to be another than in the server's own rows, by table
 * @returns the copies' ids
 */
export function copyServer(
  files: readonly string[],
  serverId: string,
  count: number,
  change: Readonly<Record<string, Row>> = {},
): string[] {
  const databases = files.map((file) => new DatabaseSync(file));
  try {
    const [global] = databases;
    if (!global) return [];
    const own = partsOf(global, [serverId]);
    const idsIn = (table: string, column: string): string[] =>
      own.filter((part) => part.table === table).flatMap(({ rows }) => rows.map((row) => String(row[column])));
    const ids = [serverId, ...idsIn('sagas', 'id'), ...idsIn('migrations', 'uuid')];
    const copies = Array.from({ length: count }, () => new Map(ids.map((id) => [id, newId()])));
    for (const db of databases) {
      db.exec('begin');
      for (const { table, rows } of partsOf(db, ids)) {
        for (const row of rows) insertCopies(db, table, { ...row, ...change[table] }, copies);
      }
      db.exec('commit');
    }
    return copies.map((copy) => copy.get(serverId) ?? '');
  } finally {
    for (const db of databases) db.close();
  }
}

function insertCopies(db: DatabaseSync, table: string, row: Row, copies: readonly ReadonlyMap<string, string>[]): void {
  const names = Object.keys(row);
  const insert = db.prepare(
    `insert into "${table}" (${names.map((name) => `"${name}"`).join(', ')}) values (${names.map(() => '?').join(', ')})`,
  );
  for (const copy of copies) {
    insert.run(
      ...Object.values(row).map((value) => {
        if (typeof value !== 'string') return value;
        let text = value;
        for (const [id, own] of copy) text = text.replaceAll(id, own);
        return text;
      }),
    );
  }
}
