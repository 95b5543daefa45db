// Files that hosts and storage hosts have lost, or keep and know nothing of: the auditor names each, and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resizeServer } from '../../src/moves/resize.ts';
import { newVolume } from './volumes.ts';
import {
  accept,
  auditWorld,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  serverOf,
  settle,
  type World,
  withWorld,
} from './world.ts';

interface Whole {
  readonly world: World;
  readonly server: string;
  /** In VERIFY_RESIZE, from this host. */
  readonly waiting: string;
  readonly source: string;
  readonly volume: string;
}

const hostWith = async ({ world, server }: Whole) => hostOf(world, (await serverOf(world, server)).host);

const storageWith = ({ world, volume }: Whole) => {
  for (const storage of world.storage.values()) if (storage.driver.words(volume) !== null) return storage;
  return assert.fail('the volume is nowhere');
};

interface Planted {
  readonly what: string;
  plant(whole: Whole): Promise<void>;
  readonly says: RegExp;
  readonly repair: RegExp;
  /** What else is broken by it. */
  readonly also?: readonly string[];
}

const PLANTED: readonly Planted[] = [
  {
    what: 'the disk of a server',
    plant: async (whole) => (await hostWith(whole)).hypervisor.loseDisk(whole.server),
    ...{ says: /^the disk of server \S+ is missing on host cell1-\w$/, repair: /rebuild the server, or delete it/ },
  },
  {
    what: 'the way back of a move that waits',
    plant: async ({ world, waiting, source }) => hostOf(world, source).hypervisor.loseDisk(waiting),
    says: /^the disk of the old guest of server \S+ is missing on host \S+, although its move may be reverted$/,
    repair: /do not revert the move: confirm it$/,
  },
  {
    what: 'the file of a volume',
    plant: async (whole) => storageWith(whole).driver.lose(whole.volume),
    ...{ says: /^the file of volume \S+ is missing on storage host storage\d$/, repair: /delete the volume$/ },
  },
  {
    what: 'the record of a guest, which its agent still knows',
    plant: async (whole) => (await hostWith(whole)).records.lose(whole.server),
    ...{ says: /^the record of server \S+ is missing/, repair: /before its agent restarts/ },
  },
  {
    what: 'the record of a guest, behind a restart of its agent',
    plant: async (whole) => {
      const host = await hostWith(whole);
      host.records.lose(whole.server);
      await host.restartAgent();
    },
    says: /^host \S+ keeps files of server \S+ and no record of it$/,
    repair: /^put its record back/,
    also: ['guest as recorded'],
  },
  {
    what: 'the record of a volume, behind a restart of its agent',
    plant: async (whole) => {
      const storage = storageWith(whole);
      storage.records.volumes.lose(whole.volume);
      await storage.restartAgent();
    },
    says: /^storage host \S+ keeps files of volume \S+ and no record of it$/,
    repair: /^put its record back/,
    also: ['volumes kept'],
  },
];

for (const { what, plant, says, repair, also = [] } of PLANTED) {
  test(`the auditor finds that a host has lost ${what}`, () =>
    withWorld(async (world) => {
      const waiting = await newServer(world, FLAVORS.small, 'waiting');
      const source = (await serverOf(world, waiting)).host ?? '';
      await accept(world, resizeServer(world.p, world.user, waiting, { flavorId: FLAVORS.big }));
      const server = await newServer(world);
      const volume = await newVolume(world);
      await settle(world);
      // What has only just ended counts as busy.
      await world.clock.pass(1000);
      assert.equal((await auditWorld(world)).verdict, 'held');
      await plant({ world, server, waiting, source, volume });
      const broken = (await auditWorld(world)).invariants.filter(({ verdict }) => verdict === 'broken');
      const [found] = broken.filter(({ name }) => name.startsWith('files')).flatMap(({ breaches }) => breaches);
      assert.match(found?.what ?? '', says);
      assert.match(found?.repair ?? '', repair);
      const others = broken.filter(({ name }) => !name.startsWith('files')).map(({ name }) => name);
      assert.deepEqual(others, [...also]);
      assert.equal(broken.length, 1 + also.length);
    }));
}

test('what nobody owns is owed once it is in quarantine; a host that is silent about its files leaves that unknown', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const host = hostOf(world, (await serverOf(world, server)).host);
    host.records.lose(server);
    await host.restartAgent();
    await world.p.stores.global.deleteFrom('server_mappings').where('server_id', '=', server).execute();
    await world.clock.pass(1000);
    const about = async () => {
      const { invariants, owed } = await auditWorld(world);
      const files = invariants.find(({ name }) => name === 'files have owners');
      return { files, owed: owed.map(({ reason }) => reason) };
    };
    const before = await about();
    assert.match(before.files?.breaches[0]?.repair ?? '', /in quarantine within a minute/);
    await beat(world, 6);
    const after = await about();
    assert.equal(after.files?.verdict, 'held');
    assert.ok(after.owed.some((reason) => /in quarantine.*nobody knows its server/.test(reason)));
    host.trouble = (method) => (method === 'files' ? 'unreachable' : 'none');
    const silent = await about();
    assert.match(silent.files?.unknown[0] ?? '', /^files of host /);
  }));
