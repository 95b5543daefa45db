// Runs one move with its faults to its end, and says what end that was. Whatever happens: the move ends; every invariant
// holds; where it turned back the world is as it was; a conductor that wakes late changes nothing; nobody is left in ERROR;
// and what went wrong is told by the move, its instance action and its failure card.
import assert from 'node:assert/strict';
import { listMigrations } from '../../../src/control/migrations.ts';
import { findServer, serverActions } from '../../../src/control/servers.ts';
import { failureOf } from '../../../src/moves/failure.ts';
import type { FailureCard } from '../../../src/moves/failure-card.ts';
import { orderMove } from '../../../src/moves/orders.ts';
import { findMove } from '../../../src/moves/registry.ts';
import { showMove } from '../../../src/moves/view.ts';
import { whyStuck } from '../../../src/saga/decide.ts';
import type { Row } from '../../../src/saga/types.ts';
import { sagaOf } from '../../../src/store/sagas.ts';
import {
  accept,
  activeSagas,
  assertSound,
  beat,
  openWorld,
  runningOn,
  serverOf,
  settle,
  type World,
  work,
} from '../world.ts';
import { snapshotOf } from '../world-snapshot.ts';
import { Contents } from './contents.ts';
import { arm, type Fault, isOutage, OUTAGE_MS, Strike, type Target } from './faults.ts';
import { type Fixture, fixtureOf } from './fixtures.ts';

export const ENDS = ['unwound', 'went forward', 'unwound after retry', 'went forward after retry', 'refused'] as const;
/** `refused`: the request that asked for it was answered 409, and the world is as it was. */
export type End = (typeof ENDS)[number];

export interface Planned {
  readonly target: Target;
  readonly fault: Fault;
  /** How often an error strikes. */
  readonly times?: number;
}

export interface Ran {
  readonly end: End;
  /** Why it turned back, or what it was stuck with. */
  readonly reason: string | null;
  /** Which of the planned faults came to strike. */
  readonly struck: readonly boolean[];
}

/**
 * @param tries hosts that the move may try: with one, what its target cannot do turns it back for good
 * @throws AssertionError when a promise is broken
 */
export async function run(
  move: string,
  planned: readonly Planned[],
  tries = 1,
  fixture = fixtureOf(move),
): Promise<Ran> {
  const world = await (fixture.open ?? openWorld)({ maxAttempts: tries });
  try {
    const contents = new Contents(world);
    const prepared = await fixture.prepare(world);
    const before = await snapshotOf(world);
    await contents.before();
    const earlier = new Set((await sagasOf(world)).map((saga) => saga.id));
    const strikes = planned.map(({ target, fault, times }) => new Strike(world, target, fault, times));
    arm(world, strikes);
    const { serverId, refusal } = await fixture.start(world, prepared);
    await toItsEnd(world, strikes);
    const mine = (await sagasOf(world)).filter((saga) => !earlier.has(saga.id) && saga.definition === move);
    const first = mine.at(0);
    assert(first, `there is no saga ${move}`);
    const stuck = first.status === 'stuck' ? await helped(world, first, strikes) : null;
    const saga = await reread(world, first);
    await assertStaleChangeNothing(world, contents, strikes);
    // One that was stuck waited for a person, who came when the hosts were back.
    if (stuck === null) assertNotKept(saga, strikes);
    // At once, where nothing has to come back first.
    const atOnce = planned.every(({ fault }) => !isOutage(fault) && fault !== 'hosts-restart');
    if (atOnce && saga.status === 'unwound' && fixture.unwound(saga, turnedAt(saga)) === 'as before') {
      assert.deepEqual(await snapshotBut(world, fixture, saga), before);
    }
    await assertTold(world, fixture, saga, serverId, refusal !== null);
    if (isOutageAlone(planned)) assertPlaceTold(world, await failureOf(world.p, saga.id), planned);
    await atRest(world);
    const restarted = planned.some(({ fault }) => fault === 'hosts-restart');
    await assertEnd(world, fixture, saga, serverId, before, restarted);
    await assertSound(world);
    const unwound = saga.status === 'unwound';
    await contents.assertKept({
      ...{ move, serverId, unwound },
      asBefore: unwound && fixture.unwound(saga, turnedAt(saga)) === 'as before',
      host: await hostNow(world, serverId),
      wasCutOff: move === 'evacuate' && planned.some(({ fault }) => fault === 'source-hosts-gone'),
    });
    await fixture.atEnd?.();
    const way = saga.status === 'unwound' ? 'unwound' : 'went forward';
    const end = stuck !== null ? (`${way} after retry` as const) : refusal !== null ? 'refused' : way;
    return { end, reason: stuck ?? saga.reason, struck: strikes.map((each) => each.struck) };
  } finally {
    await world.close();
  }
}

async function hostNow(world: World, serverId: string): Promise<string | null> {
  const found = await findServer(world.p, serverId);
  return found.kind === 'found' ? found.server.host : null;
}

const sagasOf = async (world: World): Promise<Row[]> =>
  (await world.p.stores.global.selectFrom('sagas').selectAll().orderBy('created_at').execute()).map(sagaOf);

async function reread(world: World, saga: Row): Promise<Row> {
  const row = await world.p.stores.global.selectFrom('sagas').selectAll().where('id', '=', saga.id).execute();
  assert(row[0]);
  return sagaOf(row[0]);
}

/** How often outages are looked at, and how often there is a heartbeat in them: often enough for a host to count as up. */
const SLICE_MS = 120_000;
const SELDOM_MS = 20_000;
const LONGEST_MS = 12 * 3_600_000;

/** Everybody works until all is over, outages too. */
async function toItsEnd(world: World, strikes: readonly Strike[]): Promise<void> {
  const { clock } = world;
  const giveUp = clock.now() + LONGEST_MS;
  while (clock.now() < giveUp) {
    const silent = strikes.some((strike) => strike.until !== null);
    const quiet = (await work(world, SLICE_MS, silent ? SELDOM_MS : undefined)) || (await waitsForHelp(world));
    const going = strikes.filter((strike) => strike.until !== null);
    if (quiet && going.length === 0) return;
    // Nothing is under way: the rest of the hour passes at once.
    if (quiet) await clock.pass(Math.max(0, ...going.map((strike) => (strike.until ?? 0) - clock.now())));
    for (const strike of going) await strike.endOutage();
    await beat(world);
  }
  assert.fail(`no end: ${JSON.stringify(await activeSagas(world), null, 1)}`);
}

/** A saga is stuck, and nothing else goes on. */
async function waitsForHelp(world: World): Promise<boolean> {
  const sagas = world.p.stores.global.selectFrom('sagas').select('status').orderBy('created_at');
  const first = await sagas.where('status', 'in', ['active', 'stuck']).limit(1).executeTakeFirst();
  return first?.status === 'stuck';
}

/** The saga is stuck: its card says so and what to do; that is done, and it ends. Returns what it was stuck with. */
async function helped(world: World, saga: Row, strikes: readonly Strike[]): Promise<string> {
  const card = await failureOf(world.p, saga.id);
  assert.deepEqual([card?.situation, card?.failed?.direction], ['stuck', saga.direction]);
  assert.match(card?.advice ?? '', /Then 'crosscell moves retry'/);
  assert.equal(
    whyStuck(saga),
    `${saga.direction === 'undo' ? 'undo ' : ''}${card?.failed?.step}: ${card?.failed?.reason}`,
  );
  const found = await findServer(world.p, saga.key);
  if (found.kind === 'found' && saga.definition !== 'create') assert.notEqual(found.server.vmState, 'error');
  for (const strike of strikes) strike.relent();
  await accept(world, orderMove(world.p, world.admin, saga.id, { kind: 'retry' }));
  await toItsEnd(world, strikes);
  return whyStuck(saga) ?? '';
}

async function assertStaleChangeNothing(world: World, contents: Contents, strikes: readonly Strike[]): Promise<void> {
  if (!strikes.some((strike) => strike.fault === 'stale')) return;
  const before = [await snapshotOf(world), await contents.now()];
  for (const strike of strikes) await world.clock.drive(strike.wake());
  assert.deepEqual([await snapshotOf(world), await contents.now()], before, 'who woke too late changed something');
}

const isOutageAlone = (planned: readonly Planned[]): boolean =>
  planned.some(({ fault }) => isOutage(fault)) && planned.every(({ fault }) => fault !== 'hosts-restart');

/** Whoever did not answer is one of those that were silenced. */
function assertPlaceTold(world: World, card: FailureCard | null, planned: readonly Planned[]): void {
  const { reason, host, cell } = card?.failed ?? {};
  if (reason === undefined || !/^(?:storage )?host \S+ (?:unreachable|is down)|^the database of cell/.test(reason))
    return;
  const silenced = planned.flatMap(({ fault }) => silencedBy(world, fault));
  assert.ok(silenced.includes(host ?? `cell ${cell}`), `${host ?? `cell ${cell}`} is told for ${reason}`);
}

function silencedBy(world: World, fault: Fault): string[] {
  if (fault === 'storage-gone') return [...world.storage.keys()];
  const cell = fault.startsWith('source') ? 'cell1' : 'cell2';
  if (fault.endsWith('cell-gone')) return [`cell ${cell}`];
  if (!fault.endsWith('hosts-gone')) return [];
  return [...world.hosts.values()].filter((each) => each.cell === cell).map((each) => each.name);
}

/**
 * Nobody waits for hosts that may be gone for good: the server could not be evacuated from them. For databases and storage
 * hosts everybody waits.
 */
function assertNotKept(saga: Row, strikes: readonly Strike[]): void {
  if (strikes.some(({ fault }) => isOutage(fault) && !fault.endsWith('hosts-gone'))) return;
  for (const { fault, since } of strikes) {
    if (since === null || !fault.endsWith('hosts-gone')) continue;
    const endedAt = saga.endedAt ?? Number.POSITIVE_INFINITY;
    assert.ok(
      endedAt < since + OUTAGE_MS,
      `it waited for hosts that were gone: ${JSON.stringify(saga.journal.at(-1))}`,
    );
  }
}

/** What the monitor does in its own time: debts paid, guests compared, requested deletes begun. */
async function atRest(world: World): Promise<void> {
  for (const round of [1, 6, 1]) {
    await world.clock.pass(11_000);
    await beat(world, round);
    await settle(world);
  }
}

async function assertEnd(
  world: World,
  fixture: Fixture,
  saga: Row,
  serverId: string,
  before: unknown,
  restarted: boolean,
): Promise<void> {
  assert.ok(saga.status === 'unwound' || saga.status === 'done', saga.status);
  const otherwise = saga.status === 'done' ? fixture.after : fixture.unwound(saga, turnedAt(saga));
  const wanted = (restarted ? fixture.restarted?.(saga) : undefined) ?? otherwise;
  if (wanted === 'as before') {
    assert.deepEqual(await snapshotBut(world, fixture, saga), before);
    return;
  }
  if (fixture.status) {
    assert.equal(await fixture.status(world, serverId), wanted);
    return;
  }
  if (wanted === null) {
    assert.equal((await findServer(world.p, serverId)).kind, 'absent');
    assert.deepEqual(runningOn(world, serverId), []);
    return;
  }
  const server = await serverOf(world, serverId);
  assert.equal(server.vmState, wanted);
  assert.deepEqual(
    runningOn(world, serverId),
    fixture.staysOff ||
      ['stopped', 'suspended', 'shelved', 'shelved_offloaded', 'soft-delete', 'error'].includes(wanted)
      ? []
      : [server.host],
  );
}

/** The world, without what may be left of the move. */
function snapshotBut(world: World, { imageStays }: Fixture, { state }: Row): Promise<unknown> {
  return snapshotOf(world, imageStays ? { exceptImage: String(state['imageId']) } : {});
}

/** The step at which it turned round: where its first undo began. */
function turnedAt(saga: Row): string {
  const { steps } = findMove(saga.definition, saga.version).definition;
  return saga.journal.find((entry) => entry.direction === 'undo')?.step ?? steps[0]?.name ?? '';
}

async function assertTold(
  world: World,
  fixture: Fixture,
  saga: Row,
  serverId: string,
  refused: boolean,
): Promise<void> {
  const { p } = world;
  const card = await failureOf(p, saga.id);
  const failures = saga.journal.some((entry) => entry.outcome === 'failed');
  if (saga.status === 'done') {
    assert.equal(card?.situation ?? null, failures || (card?.owed.length ?? 0) > 0 ? 'passed' : null);
    return;
  }
  assert.ok(saga.reason !== null && saga.reason !== '');
  assert.equal(card?.situation, 'turned-back');
  assert.equal(saga.reason, `${card?.failed?.step}: ${card?.failed?.reason}`);
  assert.ok((card?.undone.length ?? 0) > 0 && card?.toUndo.length === 0 && card.advice !== '');
  if (refused || fixture.action === null || (await findServer(p, serverId)).kind !== 'found') return;
  const action = (await serverActions(p, serverId)).find(
    (each) => each.action === fixture.action && each.requestId === saga.requestId,
  );
  // Where the first step never came to pass, none was opened.
  const { steps, made = 0 } = findMove(saga.definition, saga.version).definition;
  if (action === undefined && turnedAt(saga) === steps[made]?.name) return;
  assert.equal(action?.message, 'Error');
  const told = action?.events.filter((event) => event.result === 'Error').map((event) => event.details);
  assert.ok(told?.includes(card?.failed?.reason ?? ''), `the action tells ${told}`);
  if (fixture.move !== 'resize' && fixture.move !== 'revert') return;
  const migration = (await listMigrations(p, { serverId, limit: 1 }))?.at(0);
  // A revert that turned back leaves its resize waiting as it was; a resize that did has failed, unless it never had a record.
  if (migration === undefined || migration.uuid !== saga.state['migrationId']) return;
  assert.equal(migration.status, fixture.move === 'resize' ? 'error' : 'finished');
  const latest = await showMove(p, migration.uuid);
  if (latest?.id === saga.id) assert.equal(latest.reason, saga.reason);
}
