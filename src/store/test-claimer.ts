// A process of its own for sagas.test.ts: claims sagas of a data directory, or of a PostgreSQL database, until none is
// left, and says which.
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../lib/clock.ts';
import { DatabaseClock } from './database-clock.ts';
import { sqlSagaStore } from './sagas.ts';
import { openStores } from './stores.ts';

const { at, owner } = workerData as { at: string; owner: string };
const isUrl = at.startsWith('postgresql://');
const stores = await openStores(isUrl ? { kind: 'postgres', global: at, cell: (name) => `${at}_${name}` } : at);
const clock = isUrl ? await DatabaseClock.of(stores.global, systemClock) : systemClock;
const store = sqlSagaStore(stores.global, clock);
const claimed: string[] = [];
// Losing a saga to the other claimer answers null too: only several nulls in a row mean that there is none left.
for (let nulls = 0; nulls < 5; ) {
  const claim = await store.claim(owner, 60_000);
  if (claim) claimed.push(claim.row.id);
  nulls = claim ? 0 : nulls + 1;
}
await stores.close();
parentPort?.postMessage(claimed);
