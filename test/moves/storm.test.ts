// Whole storms: servers, users, conductors that die or stall, hosts and cells that come and go, answers that get lost, all
// in an order that a seed gives. At every moment no server runs twice and no status follows another unlawfully; when the
// storm is over everything comes to rest, every invariant holds, and each disk has every run of its guest once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editServer, findServer } from '../../src/control/servers.ts';
import { type ApiStatus, apiStatus, isLegalTransition } from '../../src/model/states.ts';
import type { Refusal } from '../../src/model/types.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { rebootServer, startServer, stopServer } from '../../src/moves/power.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import {
  assertSound,
  beat,
  FLAVORS,
  openWorld,
  requestServer,
  runningOn,
  settle,
  Worker,
  type World,
} from './world.ts';

const SEEDS = Number(process.env['STORM_SEEDS'] ?? 40);
const FIRST_SEED = Number(process.env['STORM_FIRST'] ?? 1);
const STEPS = 500;
const MOST_SERVERS = 4;

type Dice = (sides: number) => number;

/** Mulberry32: small, and the same numbers for the same seed everywhere. */
function diceOf(seed: number): Dice {
  let state = seed >>> 0;
  return (sides) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % sides;
  };
}

const pick = <T>(dice: Dice, from: readonly T[]): T => {
  const one = from[dice(from.length)];
  assert(one !== undefined);
  return one;
};

class Storm {
  readonly world: World;
  readonly dice: Dice;
  readonly servers: string[] = [];
  readonly seen = new Map<string, ApiStatus>();
  readonly log: string[] = [];
  workers: Worker[];

  constructor(world: World, dice: Dice) {
    this.world = world;
    this.dice = dice;
    this.workers = [new Worker(world), new Worker(world), new Worker(world)];
  }

  async step(): Promise<void> {
    const { dice, world } = this;
    const roll = dice(100);
    if (roll < 74) this.say(await pick(dice, this.workers).step());
    else if (roll < 84) await this.request();
    else if (roll < 87) {
      this.say('a conductor dies');
      this.workers[dice(this.workers.length)] = new Worker(world);
    } else if (roll < 91) await this.weather();
    else if (roll < 97) await world.clock.pass(1 + dice(roll < 96 ? 1000 : 20_000));
    else {
      this.say('monitor');
      await beat(world, dice(7));
    }
    await this.check();
  }

  say(what: string): void {
    this.log.push(what);
  }

  async request(): Promise<void> {
    const { dice, world } = this;
    const { p, user, admin, clock } = world;
    if (world.cellsDown.size === 2) return this.say('nobody can ask for anything');
    if (this.servers.length < MOST_SERVERS && (this.servers.length === 0 || dice(4) === 0)) {
      const flavor = pick(dice, [FLAVORS.small, FLAVORS.plain, FLAVORS.big]);
      this.servers.push(await requestServer(world, flavor));
      this.say(`create ${this.servers.at(-1)} ${flavor}`);
      return;
    }
    const id = pick(dice, this.servers);
    const hosts = [null, ...world.hosts.keys()];
    const acts: readonly [string, () => Promise<Refusal | null>][] = [
      ['resize', () => resizeServer(p, user, id, { flavorId: pick(dice, Object.values(FLAVORS)) })],
      ['resize', () => resizeServer(p, user, id, { flavorId: pick(dice, Object.values(FLAVORS)) })],
      ['migrate', () => migrateServer(p, admin, id, { host: pick(dice, hosts) })],
      ['migrate', () => migrateServer(p, admin, id, { host: null })],
      ['confirm', () => confirmResize(p, user, id)],
      ['revert', () => revertResize(p, user, id)],
      ['revert', () => revertResize(p, user, id)],
      ['stop', () => stopServer(p, user, id)],
      ['start', () => startServer(p, user, id)],
      ['reboot', () => rebootServer(p, user, id, dice(2) === 0 ? 'SOFT' : 'HARD')],
      ['rename', () => editServer(p, id, { name: `name ${dice(1000)}` })],
      ['delete', async () => (dice(4) === 0 ? deleteServer(p, user, id) : null)],
    ];
    const [word, act] = pick(dice, acts);
    const refusal = await clock.drive(act());
    this.say(`${word} ${id}: ${refusal ? `${refusal.code} ${refusal.message}` : 'accepted'}`);
    // 503: its cell is down, or was when its record was to be written.
    assert.ok(refusal === null || refusal.code < 500 || refusal.code === 503, `${word}: ${JSON.stringify(refusal)}`);
  }

  async weather(): Promise<void> {
    const { dice, world } = this;
    const host = pick(dice, [...world.hosts.values()]);
    switch (dice(8)) {
      case 0:
        host.down();
        return this.say(`${host.name} is silent`);
      case 1: {
        const odds = 2 + dice(4);
        host.trouble = () => (dice(odds) === 0 ? pick(dice, ['lost', 'unreachable'] as const) : 'none');
        return this.say(`${host.name} loses answers`);
      }
      case 2:
        world.cellsDown.add(host.cell);
        return this.say(`${host.cell} is down`);
      case 3:
        world.cellsDown.delete(host.cell);
        return this.say(`${host.cell} is up`);
      case 4:
        await world.clock.drive(host.restartAgent());
        return this.say(`the agent of ${host.name} restarts`);
      case 5:
        await world.clock.drive(host.reboot());
        return this.say(`${host.name} restarts`);
      default:
        host.up();
        return this.say(`${host.name} answers`);
    }
  }

  calm(): void {
    for (const host of this.world.hosts.values()) host.up();
    this.world.cellsDown.clear();
  }

  async check(): Promise<void> {
    for (const id of this.servers) {
      const running = runningOn(this.world, id);
      assert.ok(running.length <= 1, `${id} runs on ${running.join(' and ')}`);
      const found = await findServer(this.world.p, id);
      if (found.kind === 'down') {
        // What happens until its cell is back is not seen.
        this.seen.delete(id);
        continue;
      }
      const status = found.kind === 'absent' ? 'DELETED' : apiStatus(found.server.vmState, found.server.taskState);
      const before = this.seen.get(id) ?? status;
      assert.ok(isLegalTransition(before, status), `${id} went from ${before} to ${status}`);
      this.seen.set(id, status);
    }
  }

  /** Each start of the guest wrote one word; a copy that is not the last, or a second disk, shows as a gap. */
  async checkDisks(): Promise<void> {
    for (const id of this.servers) {
      const found = await findServer(this.world.p, id);
      if (found.kind !== 'found' || found.server.host === null) continue;
      const words = this.world.hosts.get(found.server.host)?.hypervisor.diskWords(id);
      assert.ok(words, `${id} has no disk`);
      words.slice(1).forEach((word, index) => {
        assert.match(word, new RegExp(`^run ${index + 1} on `));
      });
    }
  }
}

async function storm(seed: number): Promise<void> {
  const dice = diceOf(seed);
  const world = await openWorld({ resizeConfirmWindowSeconds: dice(3) === 0 ? 60 : 0 });
  const it = new Storm(world, dice);
  try {
    for (let count = 0; count < STEPS; count += 1) await it.step();
    it.calm();
    it.say('calm');
    // From here on much happens between two looks.
    it.seen.clear();
    await beat(world);
    await settle(world);
    // Debts are paid, guests of hosts that seemed to have restarted are on, and what is overdue is confirmed.
    for (let round = 0; round < 14; round += 1) {
      await world.clock.pass(11_000);
      await beat(world, round);
      await settle(world);
    }
    await it.check();
    await it.checkDisks();
    await assertSound(world);
  } catch (error) {
    const last = it.log.filter((line) => !['now', 'idle', 'claim', 'commit'].includes(line)).slice(-60);
    throw new Error(`storm ${seed}: ${error instanceof Error ? error.message : error}\n${last.join('\n')}`, {
      cause: error,
    });
  } finally {
    await world.close();
  }
}

for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) test(`storm ${seed}`, () => storm(seed));
