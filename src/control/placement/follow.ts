// The placement service that is a Placement's: asked for candidates and for room, and brought to what the ledger says.
//
// Theory of operation. `placement_consumers` has a row for each consumer that may hold something in Placement: written
// before the first is asked for, gone when nothing is left. It says what was last brought about there, or who is at it:
//   (no row) ── take ──> taken <token> ── settle ──> settled
//   settled ── ledger changed, settle begins ──> settling <token> ── settle ──> settled | (no row)
//   any ── who wrote finds that another has been at it ──> outdated ── settle ──> settled | (no row)
// So what the ledger says and Placement may not have yet can always be told, and is owed. One that is taken for GRACE_MS
// (who takes claims it in the ledger, or gives it back, at once) is settled like the others.
// Who settles looks at Placement first and reads the ledger, which is fenced, after that: Placement turns a write away
// when another came between the look and it. Who finds a row that another was at writes even what is there already, so
// that the other is turned away. And whoever has written and finds that the row is not its own any more says so
// (outdated), as does one that fails. So one that comes late does no harm, or mends it. Whoever finds another at it
// waits a moment first, and the periodic round leaves it alone. Settling looks at all consumers of a server at once:
// what passes from one to the other (a move's hold, its revert) passes in one transaction there too.
// Not handled: a settler that stood still while a consumer went from Placement and came anew (its generations begin anew
// then too), and that dies as it writes: what it wrote stays until the consumer changes next.
import { sql } from 'kysely';
import { newId } from '../../lib/ids.ts';
import type { ResourceClass, Resources } from '../../model/types.ts';
import type { Consumption, Held, Placement } from '../../openstack/placement.ts';
import { PlacementRefused } from '../../openstack/placement.ts';
import { ServiceDown } from '../../openstack/transport.ts';
import type { Consumer } from '../placement.ts';
import type { Platform } from '../platform.ts';
import { offerOf } from './offer.ts';
import { payProviders } from './providers.ts';
import type { PlacementService } from './service.ts';

/** How long room may be taken in Placement before it is claimed in the ledger. */
const GRACE_MS = 10 * 60_000;
/** How often settling begins anew when somebody else writes meanwhile. */
const ROUNDS = 10;
/** In how many of these rounds it waits for another settler, and how long in the first. */
const WAITS = 6;
const WAIT_MS = 100;
/** A settler that began this long ago is not waited for. */
const SETTLING_MS = 60_000;
/** Servers looked at in one periodic round. */
const BATCH = 500;

const TAKEN = 'taken';
const SETTLING = 'settling';
const OUTDATED = 'outdated';

/** What a consumer is to hold. */
type Wanted = Pick<Consumption, 'held' | 'projectId' | 'userId'>;

/** One attempt to settle consumers of a server; disputed: those that another may be at. */
interface Settling {
  readonly ids: readonly string[];
  readonly disputed: readonly string[];
  readonly token: string;
}

export function followingPlacement(placement: Placement): PlacementService {
  /** Where the next periodic round goes on. */
  let after = '';

  async function settle(p: Platform, serverId: string): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      const settled = await settledOf(p, serverId);
      const wanted = await ledgerOf(p, serverId);
      const ids = new Set([...settled.keys(), ...wanted.keys()]);
      const dirty = [...ids].filter((id) => (settled.get(id)?.text ?? null) !== textOf(wanted.get(id)));
      if (dirty.length === 0) return;
      if (round < WAITS && dirty.some((id) => isBeingSettled(p, settled.get(id)))) {
        await p.clock.sleep(WAIT_MS * (round + 1));
        continue;
      }
      const disputed = dirty.filter((id) => isDisputed(settled.get(id)));
      await settleThese(p, serverId, dirty, disputed);
    }
    throw new ServiceDown(`the allocations of server ${serverId} change while they are being settled`);
  }

  async function settleThese(p: Platform, serverId: string, ids: readonly string[], disputed: readonly string[]) {
    const token = `${SETTLING} ${newId()}`;
    await announce(p, serverId, ids, token);
    let isOver = false;
    try {
      await bringAbout(p, serverId, { ids, disputed, token });
      isOver = true;
    } finally {
      if (!isOver) for (const id of ids) await conclude(p, id, token, OUTDATED);
    }
  }

  async function bringAbout(p: Platform, serverId: string, { ids, disputed, token }: Settling): Promise<void> {
    const there = new Map<string, Consumption>();
    for (const id of ids) there.set(id, await placement.consumption(id));
    const wanted = await ledgerOf(p, serverId);
    const changes = new Map<string, Consumption>();
    for (const [id, now] of there) {
      const { held, projectId, userId } = wanted.get(id) ?? { ...now, held: {} };
      const isFine = isSame(held, now.held) && !(disputed.includes(id) && now.generation !== null);
      if (!isFine) changes.set(id, { held, generation: now.generation, projectId, userId });
    }
    const written = changes.size === 0 ? 'done' : await placement.write(changes);
    if (written === 'changed') return;
    if (written !== 'done') {
      throw new PlacementRefused(`Placement refuses the allocations of server ${serverId}: ${written.refused}`);
    }
    for (const id of ids) {
      const isOurs = await conclude(p, id, token, textOf(wanted.get(id)));
      if (!isOurs && changes.has(id)) await announce(p, serverId, [id], OUTDATED);
    }
  }

  async function take(p: Platform, consumer: Consumer, providerId: string, resources: Resources): Promise<boolean> {
    const { id, serverId, projectId, userId } = consumer;
    const token = `${TAKEN} ${newId()}`;
    await announce(p, serverId, [id], token);
    const held = { [providerId]: withoutZeros(resources) };
    for (let round = 0; round < ROUNDS; round += 1) {
      const { generation } = await placement.consumption(id);
      if (!(await isAtIt(p, id, token))) break;
      const written = await placement.write(new Map([[id, { held, generation, projectId, userId }]]));
      if (written === 'changed') continue;
      if (written !== 'done') {
        p.log.info({ serverId, providerId }, `Placement gives no room: ${written.refused}`);
        return false;
      }
      if (!(await isAtIt(p, id, token))) await announce(p, serverId, [id], OUTDATED);
      return true;
    }
    throw new ServiceDown(`the allocations of server ${serverId} change while room is taken`);
  }

  return {
    settle,
    take,
    offer: (p, wish) => offerOf(p, placement, wish),
    async giveBack(p, serverId) {
      try {
        await settle(p, serverId);
      } catch (error) {
        if (!(error instanceof ServiceDown || error instanceof PlacementRefused)) throw error;
        p.log.warn({ err: error, serverId }, 'room in Placement is not given back yet; it is owed');
      }
    },
    settleProviders: (p) => payProviders(p, placement),
    async payOwed(p) {
      const serverIds = await someServers(p, after);
      after = serverIds.length === BATCH ? (serverIds.at(-1) ?? '') : '';
      for (const serverId of serverIds) {
        if (await isUnderWay(p, serverId)) continue;
        try {
          await settle(p, serverId);
        } catch (error) {
          if (!(error instanceof PlacementRefused)) throw error;
          p.log.error({ serverId }, `allocations are not as they should be: ${error.message}`);
        }
      }
    },
  };
}

/** What a row says, and since when. */
interface Settled {
  readonly text: string;
  readonly since: number;
}

async function settledOf(p: Platform, serverId: string): Promise<Map<string, Settled>> {
  const rows = await p.stores.global
    .selectFrom('placement_consumers')
    .select(['consumer_id', 'settled_json', 'created_at'])
    .where('server_id', '=', serverId)
    .execute();
  return new Map(rows.map((row) => [row.consumer_id, { text: row.settled_json, since: row.created_at }]));
}

async function announce(p: Platform, serverId: string, consumerIds: readonly string[], text: string): Promise<void> {
  const [settled_json, created_at] = [text, p.clock.now()];
  await p.stores.global
    .insertInto('placement_consumers')
    .values(consumerIds.map((consumer_id) => ({ consumer_id, server_id: serverId, settled_json, created_at })))
    .onConflict((any) => any.column('consumer_id').doUpdateSet({ settled_json, created_at }))
    .execute();
}

/** Whether nobody has come to the consumer since the token was written. */
async function isAtIt(p: Platform, consumerId: string, token: string): Promise<boolean> {
  const row = await p.stores.global
    .selectFrom('placement_consumers')
    .select('settled_json')
    .where('consumer_id', '=', consumerId)
    .executeTakeFirst();
  return row?.settled_json === token;
}

/** What whoever wrote the token has brought about; null: nothing is left. False: another has been at it since. */
async function conclude(p: Platform, consumerId: string, token: string, text: string | null): Promise<boolean> {
  const { global } = p.stores;
  const isOurs = sql<boolean>`consumer_id = ${consumerId} and settled_json = ${token}`;
  const gone = global.deleteFrom('placement_consumers').where(isOurs).returning('consumer_id');
  const set = { settled_json: text ?? '' };
  const settled = global.updateTable('placement_consumers').set(set).where(isOurs).returning('consumer_id');
  return (await (text === null ? gone : settled).executeTakeFirst()) !== undefined;
}

/** What the server's consumers hold in the ledger; those that hold nothing are not in it. */
async function ledgerOf(p: Platform, serverId: string): Promise<Map<string, Wanted>> {
  const rows = await p.stores.global
    .selectFrom('consumers as c')
    .innerJoin('allocations as a', 'a.consumer_id', 'c.id')
    .select(['c.id', 'c.project_id', 'c.user_id', 'a.provider_id', 'a.resource_class', 'a.used'])
    .where('c.server_id', '=', serverId)
    .orderBy('c.id')
    .orderBy('a.provider_id')
    .orderBy('a.resource_class')
    .execute();
  const wanted = new Map<string, Wanted>();
  for (const { id, provider_id: at, resource_class, used, project_id: projectId, user_id: userId } of rows) {
    const held = wanted.get(id)?.held ?? {};
    const resources = { ...held[at], [resource_class as ResourceClass]: Number(used) };
    wanted.set(id, { held: { ...held, [at]: resources }, projectId, userId });
  }
  return wanted;
}

const textOf = (wanted: Wanted | undefined): string | null => (wanted ? JSON.stringify(wanted.held) : null);

/** Another may be at it, or has been. */
const isDisputed = (settled: Settled | undefined): boolean =>
  settled !== undefined && (settled.text.startsWith(SETTLING) || settled.text === OUTDATED);

const isBeingSettled = (p: Platform, settled: Settled | undefined): boolean =>
  settled?.text.startsWith(SETTLING) === true && p.clock.now() - settled.since < SETTLING_MS;

const withoutZeros = (resources: Resources): Resources =>
  Object.fromEntries(Object.entries(resources).filter(([, amount]) => amount > 0));

function isSame(a: Held, b: Held): boolean {
  const flat = (held: Held): string =>
    Object.entries(held)
      .flatMap(([at, resources]) => Object.entries(resources).map(([name, amount]) => `${at} ${name} ${amount}`))
      .toSorted()
      .join('\n');
  return flat(a) === flat(b);
}

/** Whether room of the server is being taken, or it is being settled. */
async function isUnderWay(p: Platform, serverId: string): Promise<boolean> {
  for (const settled of (await settledOf(p, serverId)).values()) {
    if (isBeingSettled(p, settled)) return true;
    if (settled.text.startsWith(TAKEN) && p.clock.now() - settled.since < GRACE_MS) return true;
  }
  return false;
}

/** The next servers with consumers in Placement or the ledger. */
async function someServers(p: Platform, after: string): Promise<string[]> {
  const rows = await p.stores.global
    .selectFrom('placement_consumers')
    .select('server_id')
    .where('server_id', '>', after)
    .union((from) => from.selectFrom('consumers').select('server_id').where('server_id', '>', after))
    .orderBy('server_id')
    .limit(BATCH)
    .execute();
  return rows.map((row) => row.server_id);
}
