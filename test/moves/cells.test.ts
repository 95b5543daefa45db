// Which cells get new servers: not those that are disabled, and not those whose databases are known to be down.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setCellDisabled } from '../../src/control/cell-health.ts';
import { listCells } from '../../src/control/cells.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  homeOf,
  newServer,
  requestServer,
  serverOf,
  settle,
  type World,
  withWorld,
} from './world.ts';

const inWorld = (name: string, body: (world: World) => Promise<void>) => test(name, () => withWorld(body));

const downCells = async (world: World) =>
  (await listCells(world.p)).flatMap((cell) => (cell.unreachableSince === null ? [] : [cell.name]));

inWorld('a disabled cell gets no server, by create or by move, until it is enabled', async (world) => {
  const serverId = await newServer(world, FLAVORS.small);
  assert.equal(await homeOf(world, serverId), 'cell1');
  await accept(world, setCellDisabled(world.p, 'cell1', true));
  const refused = await requestServer(world, FLAVORS.small);
  assert.match((await serverOf(world, refused)).fault?.details ?? '', /EnabledCells 2 \(cell disabled: 2\)/);
  // What is there may leave.
  const plain = await newServer(world, FLAVORS.plain);
  assert.equal(await homeOf(world, plain), 'cell2');
  await accept(world, setCellDisabled(world.p, 'cell2', true));
  await accept(world, setCellDisabled(world.p, 'cell1', false));
  await accept(world, migrateServer(world.p, world.admin, plain, { host: null }));
  await settle(world);
  assert.equal(await homeOf(world, plain), 'cell1');
  assert.equal((await setCellDisabled(world.p, 'nowhere', true))?.code, 404);
  await assertSound(world);
});

inWorld('a cell whose database is down gets no server from the next round on, and none is lost', async (world) => {
  assert.deepEqual(await downCells(world), []);
  world.cellsDown.add('cell1');
  await beat(world);
  assert.deepEqual(await downCells(world), ['cell1']);
  const plain = await newServer(world, FLAVORS.plain);
  assert.equal(await homeOf(world, plain), 'cell2');
  await accept(world, migrateServer(world.p, world.admin, plain, { host: null }));
  await settle(world);
  assert.equal(await homeOf(world, plain), 'cell2');
  world.cellsDown.clear();
  await beat(world);
  assert.deepEqual(await downCells(world), []);
  assert.equal(await homeOf(world, await newServer(world, FLAVORS.small)), 'cell1');
  await assertSound(world);
});

inWorld('a cell that is lost while a server moves there is left for a host that can do it', async (world) => {
  const serverId = await newServer(world, FLAVORS.plain);
  const home = await homeOf(world, serverId);
  const away = home === 'cell1' ? 'cell2' : 'cell1';
  const sibling = [...world.hosts.values()].find((host) => host.cell === home && !host.hypervisor.running(serverId));
  assert(sibling);
  await accept(world, setCellDisabled(world.p, home, true));
  await accept(world, migrateServer(world.p, world.admin, serverId, { host: null }));
  world.cellsDown.add(away);
  await accept(world, setCellDisabled(world.p, home, false));
  await settle(world);
  assert.deepEqual([await homeOf(world, serverId), (await serverOf(world, serverId)).host], [home, sibling.name]);
  world.cellsDown.clear();
  await beat(world);
  await settle(world);
  await assertSound(world);
});

inWorld('the home knows the flavor of now, to show it while its cell is down', async (world) => {
  const serverId = await newServer(world, FLAVORS.small);
  const known = async (): Promise<string> => {
    const { flavor_json } = await world.p.stores.global
      .selectFrom('server_mappings')
      .select('flavor_json')
      .where('server_id', '=', serverId)
      .executeTakeFirstOrThrow();
    return (JSON.parse(flavor_json) as { flavorId: string }).flavorId;
  };
  assert.equal(await known(), FLAVORS.small);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  assert.equal(await known(), FLAVORS.big);
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
  assert.equal(await known(), FLAVORS.small);
});
