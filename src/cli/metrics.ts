// What operators scrape beside the API's own metrics: sagas, debts, hosts, calls to hosts, statements.
import { Counter, Gauge, Registry } from 'prom-client';
import type { Reply } from '../host/contract.ts';
import type { Stores } from '../store/stores.ts';

export interface SystemMetrics {
  readonly registry: Registry;
  /** The same host, its calls counted by method and by what they came to. */
  counted<T extends object>(host: T): T;
  /** Calls to hosts so far. */
  hostCalls(): Promise<number>;
}

export function systemMetrics(stores: Stores): SystemMetrics {
  const registry = new Registry();
  const registers = [registry];
  const calls = new Counter({
    name: 'crosscell_host_calls_total',
    help: 'Calls to hosts, by method and by what they came to',
    labelNames: ['method', 'reply'],
    registers,
  });
  new Gauge({
    name: 'crosscell_sagas',
    help: 'Sagas by status',
    labelNames: ['status'],
    registers,
    async collect() {
      const rows = await stores.global
        .selectFrom('sagas')
        .select((eb) => ['status', eb.fn.countAll<number>().as('n')])
        .groupBy('status')
        .execute();
      this.reset();
      for (const row of rows) this.set({ status: row.status }, Number(row.n));
    },
  });
  new Gauge({
    name: 'crosscell_debts_open',
    help: 'Clean-ups owed by hosts that could not be reached',
    registers,
    async collect() {
      this.set(Number((await openDebts(stores)).n));
    },
  });
  new Gauge({
    name: 'crosscell_oldest_debt_seconds',
    help: 'Age of the oldest open debt; 0 when there is none',
    registers,
    async collect() {
      const { since } = await openDebts(stores);
      this.set(since === null ? 0 : (Date.now() - since) / 1000);
    },
  });
  new Gauge({
    name: 'crosscell_host_last_seen_seconds',
    help: 'Seconds since the last heartbeat of each host',
    labelNames: ['host'],
    registers,
    async collect() {
      const hosts = await stores.global.selectFrom('hosts').select(['name', 'last_seen_at']).execute();
      this.reset();
      for (const host of hosts) {
        if (host.last_seen_at !== null) this.set({ host: host.name }, (Date.now() - host.last_seen_at) / 1000);
      }
    },
  });
  new Gauge({
    name: 'crosscell_sql_statements',
    help: 'Statements that this process has executed in all databases',
    registers,
    collect() {
      this.set(stores.statements());
    },
  });
  return {
    registry,
    counted: <T extends object>(host: T): T =>
      new Proxy(host, {
        get(target, method) {
          const call = Reflect.get(target, method) as ((...args: unknown[]) => Promise<Reply<unknown>>) | undefined;
          if (typeof call !== 'function') return call;
          return async (...args: unknown[]) => {
            const reply = await call.apply(target, args);
            calls.inc({ method: String(method), reply: reply.kind });
            return reply;
          };
        },
      }),
    hostCalls: async () => (await calls.get()).values.reduce((sum, each) => sum + each.value, 0),
  };
}

async function openDebts(stores: Stores): Promise<{ n: number; since: number | null }> {
  return stores.global
    .selectFrom('debts')
    .select((eb) => [eb.fn.countAll<number>().as('n'), eb.fn.min<number | null>('created_at').as('since')])
    .where('paid_at', 'is', null)
    .executeTakeFirstOrThrow();
}
