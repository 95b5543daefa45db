// Sagas beside a Neutron of a few lines, of servers with a port that their user made and one that was made for them. Whatever
// end they come to, Neutron must have what the ledger says, users' ports that no server has are free, and nothing is owed.
import assert from 'node:assert/strict';
import { neutronNetworks } from '../../../src/control/network/neutron.ts';
import { attachInterface } from '../../../src/moves/interfaces.ts';
import { FakeNeutron, type FakePort } from '../fake-neutron.ts';
import { openWorld, settle, type World } from '../world.ts';
import { type Fixture, fixtureOf } from './fixtures.ts';

interface Beside {
  readonly world: World;
  readonly neutron: FakeNeutron;
  readonly mine: FakePort;
}

let opened: Beside | null = null;

const MOVES = [
  ...(['create', 'resize', 'confirm', 'revert', 'delete', 'evacuate'] as const),
  ...(['shelve offload', 'unshelve offloaded', 'attach interface', 'detach interface'] as const),
];

async function attachMine(serverId: string): Promise<boolean> {
  assert(opened);
  const { world, mine } = opened;
  const wanted = { kind: 'port', portId: mine.id } as const;
  const { kind } = await world.clock.drive(attachInterface(world.p, world.user, serverId, wanted, null));
  return kind === 'attached';
}

export const BESIDE_NEUTRON: readonly Fixture[] = MOVES.map((move): Fixture => {
  const fixture = fixtureOf(move);
  return {
    ...fixture,
    async open(settings) {
      const bare = await openWorld(settings);
      const { id } = await bare.p.stores.global.selectFrom('subnets').select('id').executeTakeFirstOrThrow();
      const neutron = new FakeNeutron().over(id);
      const world: World = { ...bare, p: { ...bare.p, network: neutronNetworks(neutron) } };
      opened = { world, neutron, mine: neutron.make(world.networkId, world.user.projectId, 'mine') };
      return world;
    },
    async prepare(world) {
      const serverId = await fixture.prepare(world);
      // Where it is not attached by the move itself, and the server's state allows it.
      if (serverId !== '' && move !== 'attach interface' && (await attachMine(serverId))) await settle(world);
      return serverId;
    },
    ...(move === 'attach interface'
      ? {
          async start(_: World, serverId: string) {
            const refused = { code: 409, message: 'not attached' } as const;
            return { serverId, refusal: (await attachMine(serverId)) ? null : refused };
          },
        }
      : {}),
    async atEnd() {
      assert(opened);
      const { world, neutron, mine } = opened;
      const { global } = world.p.stores;
      const rows = await global
        .selectFrom('ports as p')
        .leftJoin('port_bindings as b', 'b.port_id', 'p.id')
        .select(['p.id', 'p.device_id', 'b.host', 'b.active'])
        .execute();
      const ledger = rows.map(({ id, device_id, host, active }) => `${id} ${device_id} ${host} ${active === 1}`);
      const there = [...neutron.ports.values()]
        .filter((port) => port !== mine || port.device_id !== '')
        .flatMap(({ id, device_id, bindings }) =>
          [...bindings].map(([host, status]) => `${id} ${device_id} ${host} ${status === 'ACTIVE'}`),
        );
      assert.deepEqual(there.toSorted(), ledger.toSorted());
      assert.equal(mine.device_id === '' && mine.bindings.size > 0, false, 'free is bound nowhere');
      assert.ok(neutron.ports.has(mine.id), "a user's port is never deleted");
      const takes = await global.selectFrom('neutron_takes').selectAll().execute();
      const lent = await global.selectFrom('neutron_lent').select('server_id').execute();
      const owed = await global.selectFrom('neutron_servers').selectAll().where('settled_json', '=', '').execute();
      assert.deepEqual([takes, lent.length, owed], [[], mine.device_id === '' ? 0 : 1, []]);
    },
  };
});
