// Choosing a host and claiming its room, over 100, 1,000 and 10,000 hosts, on SQLite files with synchronous=FULL.
//
// `candidates` is what a request to Placement's /allocation_candidates and Nova's filters and weighers do together: read
// all hosts with what they have and what is used of it, filter, weigh, sort. A choice with its claim also writes the room
// of one server. Every host has one server's room in use. Placement's figures are those of docs/benchmarks.md; it was not
// measured beyond 5,000 providers: 10,000 of ours stand beside 5,000 of its.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { ensureCell } from '../src/control/cells.ts';
import { hostStates } from '../src/control/host-states.ts';
import type { Platform } from '../src/control/platform.ts';
import { DEFAULT_POLICIES } from '../src/control/policies.ts';
import { chooseHost } from '../src/control/scheduling.ts';
import { FLAVOR, TEST_SETTINGS } from '../src/control/test-support.ts';
import { nobody } from '../src/host/nobody.ts';
import { systemClock } from '../src/lib/clock.ts';
import { newId } from '../src/lib/ids.ts';
import { resourcesOf } from '../src/model/resources.ts';
import { schedule } from '../src/model/scheduling.ts';
import { openStores } from '../src/store/stores.ts';
import { type Figure, median } from './table.ts';

/** Median ms of GET /allocation_candidates without a limit, the middle of what was measured, by providers. */
const PLACEMENT_MS: readonly { readonly hosts: number; readonly peer: number; readonly at: number }[] = [
  { hosts: 100, peer: 30, at: 100 },
  { hosts: 1000, peer: 194, at: 1000 },
  { hosts: 10_000, peer: 1205, at: 5000 },
];
/** PUT /allocations per second, eight threads on a quiet machine. */
const PLACEMENT_CLAIMS = 70;
const RUNS = 20;
const ROWS = 500;

const REQUEST = {
  ...{ extraSpecs: {}, imageProperties: {}, zone: null, requestedHost: null, ignoreHosts: [], homeCellId: null },
  ...{ crossCellAllowed: true, group: null },
};
const CHOICE = {
  ...{ flavor: FLAVOR, imageProperties: {}, requestedZone: null, requestedHost: null, ignoredHosts: [] },
  ...{ homeCellId: null, crossCellAllowed: true, groupId: null },
};

export async function benchPlacement(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { hosts, peer, at } of PLACEMENT_MS) {
    const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
    try {
      figures.push(...(await measure(directory, hosts, { name: `Placement, ${at} providers`, value: peer })));
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  return figures;
}

async function measure(directory: string, hosts: number, peer: { name: string; value: number }): Promise<Figure[]> {
  const stores = await openStores(directory);
  const p: Platform = {
    clock: systemClock,
    log: pino({ level: 'silent' }),
    stores,
    settings: { ...TEST_SETTINGS, hostDownSeconds: 3600 },
    host: async () => nobody('no host is asked here'),
    storage: async () => nobody('no storage host is asked here'),
    policies: DEFAULT_POLICIES,
    nudge: () => undefined,
  };
  try {
    await fill(p, hosts);
    const before = stores.statements();
    const candidates = await timed(async () => {
      const found = schedule({ ...REQUEST, resources: resourcesOf(FLAVOR) }, await hostStates(p), p.settings.weights);
      if (found.kind === 'none' || found.hosts.length !== hosts) throw new Error('not every host is a candidate');
    });
    const statements = (stores.statements() - before) / RUNS;
    const choice = await timed(async () => {
      const id = newId();
      const consumer = { id, type: 'server', serverId: id, projectId: 'p', userId: 'u' } as const;
      const chosen = await chooseHost(p, CHOICE, consumer, (work) => stores.global.transaction().execute(work));
      if (chosen.kind !== 'chosen') throw new Error(chosen.reason);
    });
    const part = 'placement';
    const name = `${hosts} hosts`;
    return [
      { part, what: `${name}: candidates`, ours: candidates, unit: 'ms', peer, note: `${statements} statements` },
      {
        ...{ part, what: `${name}: choices with claim`, ours: 1000 / choice, unit: '/s', note: 'claims alone there' },
        peer: { name: 'Placement, 8 threads', value: PLACEMENT_CLAIMS },
      },
    ];
  } finally {
    await stores.close();
  }
}

/** Median duration, ms. */
async function timed(work: () => Promise<void>): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const begun = performance.now();
    await work();
    times.push(performance.now() - begun);
  }
  return median(times);
}

async function fill(p: Platform, count: number): Promise<void> {
  const db = p.stores.global;
  const cells = [await ensureCell(p, 'cell1'), await ensureCell(p, 'cell2')];
  const now = p.clock.now();
  const ids = Array.from({ length: count }, newId);
  for (let first = 0; first < count; first += ROWS) {
    const some = ids.slice(first, first + ROWS).map((id, index) => ({
      ...{ id, name: `host-${first + index}`, cell_id: cells[(first + index) % cells.length] ?? '' },
    }));
    await db.transaction().execute(async (trx) => {
      await trx
        .insertInto('hosts')
        .values(
          some.map((host) => ({
            ...host,
            ...{ url: '', disabled: 0, disabled_reason: null, forced_down: 0, last_seen_at: now, agent_id: 'a' },
            ...{ reconciled: 1, hypervisor_type: 'QEMU', hypervisor_version: 1, architecture: 'x86_64' },
            ...{ vcpus: 64, memory_mb: 65_536, disk_gb: 1000, created_at: now, updated_at: now },
          })),
        )
        .execute();
      await trx
        .insertInto('providers')
        .values(some.map((host) => ({ ...host, generation: 0 })))
        .execute();
      await trx
        .insertInto('consumers')
        .values(
          some.map(({ id }) => ({ id, type: 'server', server_id: id, project_id: 'p', user_id: 'u', generation: 1 })),
        )
        .execute();
      for (const [resource_class, total, used] of [
        ['VCPU', 64, 1],
        ['MEMORY_MB', 65_536, 512],
        ['DISK_GB', 1000, 1],
      ] as const) {
        await trx
          .insertInto('inventories')
          .values(some.map(({ id }) => ({ provider_id: id, resource_class, total, reserved: 0, allocation_ratio: 1 })))
          .execute();
        await trx
          .insertInto('allocations')
          .values(some.map(({ id }) => ({ consumer_id: id, provider_id: id, resource_class, used })))
          .execute();
      }
    });
  }
}
