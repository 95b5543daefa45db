// Real QEMU under fire: conductor, agents, guests and volumes killed at the steps of a resize across cells.
//
// A sample by seed; FIRE_SEED repeats one, FIRE_CASES says how many cases, `all` for every one. FIRE_PART=2/3 plays the
// second third of them, so that three may run beside each other; FIRE_BACKING=volume|image those of one kind of root disk.
// FIRE_FROM=50 leaves out the first fifty: what a run before has played.
// FIRE_ONLY='conductor/before/copy records' plays one case, and keeps the directory with its logs.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { verifyChain } from '../../guest/journal.ts';
import { readJournal } from '../../guest/journal-reader.ts';
import { whyNoGuests } from '../../guest/run.ts';
import { diceOf } from '../../src/simulation/dice.ts';
import { Campaign, type Result } from './campaign.ts';
import { allCases, isBorn, sample } from './plan.ts';
import { System } from './system.ts';

const IMAGE_FILE = join(import.meta.dirname, '..', '..', 'var', 'cache', 'guest', 'crosscell-guest.qcow2');
const SEED = Number(process.env['FIRE_SEED'] ?? 1);
const CASES = process.env['FIRE_CASES'];
/** As many cases as are chosen without FIRE_CASES. */
const SAMPLE = 10;
/** However slow the machine is. */
const FEWEST = 4;
/** As many of the sample, in its order, as fit; FIRE_MINUTES has another limit. */
const BUDGET_MS = Number(process.env['FIRE_MINUTES'] ?? (CASES === undefined ? 4 : 240)) * 60_000;
const [PART = 1, PARTS = 1] = (process.env['FIRE_PART'] ?? '1/1').split('/').map(Number);
const FROM = Number(process.env['FIRE_FROM'] ?? 0);
const ONLY = process.env['FIRE_ONLY'];
/** File that the results are written to, for docs/proof.md. */
const REPORT = process.env['FIRE_REPORT'];
const skip = (await whyNoGuests()) ?? (existsSync(IMAGE_FILE) ? false : 'the guest image has not been built');

const FLAVORS = [
  { id: 'fire-1', name: 'fire-1', vcpus: 1, ram: 128, disk: 1 },
  { id: 'fire-2', name: 'fire-2', vcpus: 1, ram: 160, disk: 1 },
] as const;
const COMPUTE = '/compute/v2.1';
/** Volume-backed servers are what the campaign is for; those on a host's disk come beside them when all is tried. */
const BACKINGS = (CASES === 'all' ? (['volume', 'image'] as const) : (['volume'] as const)).filter(
  (backing) => backing === (process.env['FIRE_BACKING'] ?? backing),
);

describe(`real parts under fire, seed ${SEED}`, { skip }, () => {
  let system: System;
  let imageId: string;
  const results: (Result & { readonly backing: string })[] = [];

  before(async () => {
    system = await System.open();
    for (const flavor of FLAVORS) await system.call('POST', `${COMPUTE}/flavors`, { flavor });
    const { images } = await system.call<{ images: { id: string }[] }>('GET', '/image/v2/images');
    imageId = images[0]?.id ?? '';
  });
  after(async () => {
    const { watched, left } = await system.close({ keep: ONLY !== undefined });
    const report = { seed: SEED, results, watched, left };
    if (REPORT !== undefined) await writeFile(REPORT, `${JSON.stringify(report, null, 2)}\n`);
    assert.deepEqual(watched.breaches, [], 'at most one guest of a server ran at any time');
    assert.ok(watched.looks > 100, `the watcher looked ${watched.looks} times`);
    assert.deepEqual(left, [], 'nothing is left running');
  });

  for (const backing of BACKINGS) {
    test(`a server on its ${backing === 'image' ? "host's disk" : 'volume'}`, async (t) => {
      const dice = diceOf(SEED, backing);
      const all = allCases(backing, dice).filter(
        ({ victim, moment, step }) => ONLY === undefined || ONLY === `${victim}/${moment}/${step}`,
      );
      const chosen = CASES === 'all' ? all : sample(all, Number(CASES ?? SAMPLE), dice);
      const cases = chosen.filter((_, index) => index % PARTS === PART - 1).slice(FROM);
      const serverId = await create(system, imageId, backing);
      const campaign = new Campaign(system, serverId, [FLAVORS[0].id, FLAVORS[1].id]);
      await campaign.settle();
      const began = performance.now();
      let played = 0;
      for (const [index, each] of cases.entries()) {
        if (performance.now() - began > BUDGET_MS) break;
        played += 1;
        await t.test(`${each.victim} is killed ${each.moment} '${each.step}'`, async () => {
          results.push({ backing, ...(await campaign.play(each, index % 2 === 0)) });
        });
      }
      await t.test('what was to be killed was there', () => {
        const ofThis = results.filter((each) => each.backing === backing);
        const missed = ofThis.filter(({ killed, victim, step, moment }) => {
          return !killed && (moment === 'before' || isBorn(victim, step, moment));
        });
        assert.deepEqual(missed, []);
        assert.ok(played >= Math.min(FEWEST, cases.length), `${played} of ${cases.length} cases were played`);
      });
      await t.test('its journal is an unbroken chain', async () => {
        await system.call('POST', `${COMPUTE}/servers/${serverId}/action`, { 'os-stop': null });
        const host = await untilStatus(system, serverId, 'SHUTOFF');
        const disk =
          backing === 'image'
            ? join(system.directory, 'hosts', host, 'guests', serverId, 'disk.qcow2')
            : join(
                system.directory,
                'storage',
                'storage1',
                'volumes',
                await rootVolume(system, serverId),
                'volume.qcow2',
              );
        const reading = await readJournal(disk, 'qcow2', system.directory);
        assert.ok(reading.ok, JSON.stringify(reading));
        const verdict = verifyChain(reading.journal);
        assert.ok(verdict.ok, JSON.stringify(verdict));
        assert.ok(verdict.count > played * 3, `${verdict.count} entries after ${played} cases`);
      });
      await t.test('every invariant holds, and nothing is left of it when it is deleted', async () => {
        await system.call('DELETE', `${COMPUTE}/servers/${serverId}`);
        await untilGone(system, serverId);
        const sight = system.look();
        assert.deepEqual(sight.guests, []);
        assert.deepEqual(sight.volumes, []);
        const { debts } = await system.call<{ debts: unknown[] }>('GET', '/crosscell/v1/debts');
        assert.deepEqual(debts, []);
        await campaign.audit();
      });
    });
  }
});

interface Shown {
  readonly status: string;
  readonly 'OS-EXT-SRV-ATTR:host': string | null;
}

async function create(system: System, imageRef: string, backing: 'image' | 'volume'): Promise<string> {
  const volume = { uuid: imageRef, source_type: 'image', destination_type: 'volume', volume_size: 1 };
  const root =
    backing === 'image'
      ? { imageRef }
      : { block_device_mapping_v2: [{ ...volume, boot_index: 0, delete_on_termination: true }] };
  const server = { name: 'under fire', flavorRef: FLAVORS[0].id, networks: 'auto', ...root };
  const created = await system.call<{ server: { id: string } }>('POST', `${COMPUTE}/servers`, { server });
  await untilStatus(system, created.server.id, 'ACTIVE');
  return created.server.id;
}

/** Resolves with the server's host. */
async function untilStatus(system: System, id: string, status: string): Promise<string> {
  const giveUp = performance.now() + 120_000;
  for (;;) {
    const { server } = await system.call<{ server: Shown }>('GET', `${COMPUTE}/servers/${id}`);
    if (server.status === status) return server['OS-EXT-SRV-ATTR:host'] ?? '';
    assert.ok(server.status !== 'ERROR' && performance.now() < giveUp, `the server is ${server.status}`);
    await delay(100);
  }
}

async function rootVolume(system: System, id: string): Promise<string> {
  const path = `${COMPUTE}/servers/${id}/os-volume_attachments`;
  const { volumeAttachments } = await system.call<{ volumeAttachments: { volumeId: string }[] }>('GET', path);
  return volumeAttachments[0]?.volumeId ?? '';
}

async function untilGone(system: System, id: string): Promise<void> {
  const giveUp = performance.now() + 60_000;
  for (;;) {
    const { servers } = await system.call<{ servers: { id: string }[] }>('GET', `${COMPUTE}/servers?all_tenants=1`);
    const { moves } = await system.call<{ moves: { status: string }[] }>('GET', `/crosscell/v1/moves?server_id=${id}`);
    if (servers.every((server) => server.id !== id) && moves.every(({ status }) => status !== 'active')) return;
    assert.ok(performance.now() < giveUp, 'the server is not deleted');
    await delay(100);
  }
}
