// Statements whose words never change: put together once, executed with other values each time.
//
// Kysely builds and compiles a statement anew whenever it is used, which takes several times as long as SQLite takes to
// execute it. For the few that make up most of all statements (commits of sagas, heartbeats) that is done once here.
// What a statement is built with are not values but slots, which stand where the values will; so its words must not depend
// on any value: no `in` with a list, no condition that is left out. Each kind of database has words of its own.
import type { CompiledQuery, Kysely, QueryResult } from 'kysely';
import { invariant } from '../lib/errors.ts';
import type { Listed } from './dialect.ts';

type Value = string | number | null | Listed;
/** Any record of values, an interface too. */
type Values<V> = { readonly [K in keyof V]: Value };

/** Stands where a value will. */
class Slot {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** @param build with slots in the place of values; called once per kind of database */
export function fixed<Tables, V extends Values<V>, R>(
  build: (db: Kysely<Tables>, slots: V) => { compile(): CompiledQuery<R> },
): (db: Kysely<Tables>, values: V) => Promise<QueryResult<R>> {
  const compiled = new Map<unknown, CompiledQuery<R>>();
  const slots = new Proxy<V>({} as V, { get: (_, name) => new Slot(String(name)) });
  return (db, values) => {
    const kind = db.getExecutor().adapter.constructor;
    const query = compiled.get(kind) ?? build(db, slots).compile();
    compiled.set(kind, query);
    const parameters = query.parameters.map((each) => filled(each, values));
    return db.getExecutor().executeQuery({ sql: query.sql, query: query.query, queryId: query.queryId, parameters });
  };
}

function filled<V extends Values<V>>(parameter: unknown, values: V): unknown {
  if (!(parameter instanceof Slot)) return parameter;
  const value = values[parameter.name as keyof V];
  invariant(value !== undefined, `a statement without its ${parameter.name}`);
  return value;
}
