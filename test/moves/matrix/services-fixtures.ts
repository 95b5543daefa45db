// Sagas beside a Placement and a Glance of a few lines each. Whatever end they come to, Placement must have what the ledger
// says, Glance no image that is not all there, and nothing is owed to either.
import assert from 'node:assert/strict';
import { createImageMirror, type ImageMirror } from '../../../src/control/images/mirror.ts';
import { FakeGlance } from '../../../src/control/images/testing.ts';
import { followingPlacement } from '../../../src/control/placement/follow.ts';
import { FakePlacement } from '../../../src/control/placement/testing.ts';
import { openWorld, type World } from '../world.ts';
import { type Fixture, fixtureOf } from './fixtures.ts';

interface Services {
  readonly world: World;
  readonly placement: FakePlacement;
  readonly glance: FakeGlance;
  readonly imageMirror: ImageMirror;
}

let opened: Services | null = null;

const MOVES = [
  ...(['create', 'resize', 'confirm', 'revert', 'delete', 'evacuate'] as const),
  ...(['create image', 'create backup', 'create image of volumes', 'upload volume'] as const),
  ...(['shelve', 'shelve offload', 'unshelve', 'unshelve offloaded'] as const),
];

export const BESIDE_SERVICES: readonly Fixture[] = MOVES.map((move) => ({
  ...fixtureOf(move),
  async open(settings) {
    const bare = await openWorld(settings);
    const [placement, glance] = [new FakePlacement(), new FakeGlance()];
    glance.put(bare.imageId, Buffer.from('an image'), { visibility: 'public', disk_format: 'raw' });
    const imageMirror = createImageMirror(glance);
    const world: World = { ...bare, p: { ...bare.p, placement: followingPlacement(placement), imageMirror } };
    await world.clock.drive(world.p.placement?.settleProviders(world.p) ?? Promise.resolve());
    opened = { world, placement, glance, imageMirror };
    return world;
  },
  async atEnd() {
    assert(opened);
    const { world, placement, glance, imageMirror } = opened;
    await imageMirror.close();
    const { global } = world.p.stores;
    const ledger = await global.selectFrom('allocations').selectAll().execute();
    assert.deepEqual(
      placement.lines(),
      ledger.map((row) => `${row.consumer_id} ${row.provider_id} ${row.resource_class} ${row.used}`).toSorted(),
    );
    const unsettled = await global
      .selectFrom('placement_consumers')
      .select('settled_json')
      .where('settled_json', 'not like', '{%')
      .execute();
    const writes = await global.selectFrom('glance_writes').selectAll().execute();
    assert.deepEqual([unsettled, writes], [[], []]);
    for (const { id, status } of glance.images.values()) assert.equal(status, 'active', `image ${id}`);
  },
}));
