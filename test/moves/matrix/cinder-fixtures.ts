// Sagas on a server with a volume that a Cinder keeps; see cinder-world.ts. Whatever end they come to, Cinder must have what
// the ledger says.
import { attachVolume, detachVolume } from '../../../src/moves/attach.ts';
import { assertAgrees, type CinderWorld, openCinderWorld } from '../cinder-world.ts';
import { attach, attachWish } from '../volumes.ts';
import { accept, newServer, settle, type World } from '../world.ts';
import { type Fixture, fixtureOf, resize, use } from './fixtures.ts';

let opened: CinderWorld | null = null;

const theWorld = (): CinderWorld => {
  if (opened === null) throw new Error('a fixture opens its world first');
  return opened;
};
const theVolume = (): string => [...theWorld().cinder.volumes.keys()][0] ?? '';

/** An ACTIVE server; the volume is known here, and not its yet. */
async function beside(world: World): Promise<string> {
  const serverId = await newServer(world);
  await world.p.volumes?.look(world.p, theWorld().cinder.newVolume());
  return serverId;
}

async function having(world: World): Promise<string> {
  const serverId = await beside(world);
  await attach(world, serverId, theVolume());
  return serverId;
}

async function resized(world: World): Promise<string> {
  const serverId = await having(world);
  await accept(world, resize(world, serverId));
  await settle(world);
  return serverId;
}

const STARTS: Readonly<Record<string, Partial<Fixture>>> = {
  resize: { prepare: having },
  confirm: { prepare: resized },
  revert: { prepare: resized },
  delete: { prepare: resized },
  'attach volume': {
    prepare: beside,
    start: use(async (world, id) => {
      const wish = attachWish(theVolume());
      const attached = await attachVolume(world.p, world.user, id, wish);
      return attached.kind === 'attached' ? null : attached.refusal;
    }),
  },
  'detach volume': { prepare: having, start: use((world, id) => detachVolume(world.p, world.user, id, theVolume())) },
};

export const ON_CINDER: readonly Fixture[] = Object.entries(STARTS).map(([move, start]) => ({
  ...fixtureOf(move),
  ...start,
  storage: 'no part',
  async open(settings) {
    opened = await openCinderWorld(settings);
    return opened.world;
  },
  atEnd: () => assertAgrees(theWorld()),
}));
