// The moves with ports in a Neutron of a few lines: it must be as the ledger says whenever things are at rest, whatever
// failed on the way, and nobody may wait for it but who is about to move.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neutronNetworks } from '../../src/control/network/neutron.ts';
import { newId } from '../../src/lib/ids.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { createServer } from '../../src/moves/create-server.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { attachInterface } from '../../src/moves/interfaces.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { type Neutron, type NeutronPort, NeutronRefused } from '../../src/openstack/neutron.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  newServer,
  openWorld,
  requestServer,
  runningOn,
  serverOf,
  settle,
  type World,
  work,
} from './world.ts';

const HOUR_MS = 3_600_000;

interface FakePort extends NeutronPort {
  readonly serverId: string;
  /** Status by host. */
  readonly bindings: Map<string, string>;
}

class FakeNeutron implements Neutron {
  readonly ports = new Map<string, FakePort>();
  readonly calls: string[] = [];
  isDown = false;
  /** Called after each write; may change the world. */
  afterWrite: (what: string) => Promise<void> = async () => undefined;
  #count = 0;
  #subnetId = '';

  async networks() {
    return [];
  }
  async subnets() {
    return [];
  }
  over(subnetId: string): this {
    this.#subnetId = subnetId;
    return this;
  }
  async createPort({ serverId, networkId }: { serverId: string; networkId: string }) {
    await this.#asked('create');
    this.#count += 1;
    const port: FakePort = {
      ...{ id: newId(), network_id: networkId, mac_address: `fa:16:3e:00:00:0${this.#count}`, serverId },
      ...{ fixed_ips: [{ subnet_id: this.#subnetId, ip_address: `10.42.9.${this.#count}` }], bindings: new Map() },
    };
    this.ports.set(port.id, port);
    return { kind: 'ok' as const, status: 201, body: port, headers: new Headers() };
  }
  async portsOf(serverId: string) {
    await this.#asked('look');
    return [...this.ports.values()].filter((port) => port.serverId === serverId);
  }
  async deletePort(portId: string) {
    await this.#write('delete', () => this.ports.delete(portId));
  }
  async bindings(portId: string) {
    await this.#asked('look');
    const { bindings } = this.#port(portId);
    // As Neutron lists a port that is bound nowhere.
    if (bindings.size === 0) return [{ host: '', status: 'ACTIVE' }];
    return [...bindings].map(([host, status]) => ({ host, status }));
  }
  async bindFirst(portId: string, host: string) {
    await this.#write('bind first', () => this.#port(portId).bindings.set(host, 'ACTIVE'));
  }
  async bind(portId: string, host: string) {
    await this.#write('bind', () => this.#port(portId).bindings.set(host, 'INACTIVE'));
  }
  async activate(portId: string, host: string) {
    await this.#write('activate', () => {
      const { bindings } = this.#port(portId);
      if (!bindings.has(host)) throw new NeutronRefused('no such binding');
      for (const each of bindings.keys()) bindings.set(each, each === host ? 'ACTIVE' : 'INACTIVE');
    });
  }
  async unbind(portId: string, host: string) {
    await this.#write('unbind', () => this.#port(portId).bindings.delete(host));
  }

  /** Hosts of the bindings of the server's ports, the active one with a star. */
  bound(serverId: string): string[][] {
    return [...this.ports.values()]
      .filter((port) => port.serverId === serverId)
      .map(({ bindings }) =>
        [...bindings].map(([host, status]) => (status === 'ACTIVE' ? `${host}*` : host)).toSorted(),
      );
  }

  #port(portId: string): FakePort {
    const port = this.ports.get(portId);
    if (!port) throw new NeutronRefused(`no port ${portId}`);
    return port;
  }
  async #asked(what: string): Promise<void> {
    if (this.isDown) throw new ServiceDown('Neutron is down');
    this.calls.push(what);
  }
  async #write(what: string, change: () => unknown): Promise<void> {
    await this.#asked(what);
    change();
    await this.afterWrite(what);
  }
}

/** What the ledger says, in the words of `bound`. */
async function ledger(world: World, serverId: string): Promise<string[][]> {
  const rows = await world.p.stores.global
    .selectFrom('ports as p')
    .innerJoin('port_bindings as b', 'b.port_id', 'p.id')
    .select(['p.id', 'b.host', 'b.active'])
    .where('p.device_id', '=', serverId)
    .execute();
  const ports = Map.groupBy(rows, (row) => row.id);
  return [...ports.values()].map((bindings) =>
    bindings.map(({ host, active }) => (active === 1 ? `${host}*` : host)).toSorted(),
  );
}

const inWorld = (name: string, body: (world: World, neutron: FakeNeutron) => Promise<void>) =>
  test(name, async () => {
    const opened = await openWorld();
    const { id } = await opened.p.stores.global.selectFrom('subnets').select('id').executeTakeFirstOrThrow();
    const neutron = new FakeNeutron().over(id);
    const world: World = { ...opened, p: { ...opened.p, network: neutronNetworks(neutron) } };
    try {
      await body(world, neutron);
    } finally {
      await world.close();
    }
  });

const owed = async (world: World): Promise<number> =>
  (await world.p.stores.global.selectFrom('neutron_servers').select('server_id').execute()).length;

inWorld(
  'forth and back: at every rest Neutron has what the ledger says, and at the end nothing',
  async (world, neutron) => {
    const serverId = await newServer(world);
    const agree = async (count: number): Promise<void> => {
      assert.deepEqual(neutron.bound(serverId), await ledger(world, serverId));
      assert.equal(neutron.bound(serverId)[0]?.length, count);
    };
    const [port] = await world.p.stores.global
      .selectFrom('ports')
      .selectAll()
      .where('device_id', '=', serverId)
      .execute();
    assert.deepEqual(
      [port?.mac, neutron.ports.has(port?.id ?? '')],
      ['fa:16:3e:00:00:01', true],
      "Neutron's MAC and id",
    );
    await agree(1);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await agree(2);
    await accept(world, revertResize(world.p, world.user, serverId));
    await settle(world);
    await agree(1);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    await agree(1);
    const refused = await world.clock.drive(
      attachInterface(world.p, world.user, serverId, { kind: 'network', networkId: world.networkId, ip: null }, null),
    );
    assert.equal(refused.kind, 'refused');
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    assert.equal(neutron.ports.size, 0);
    assert.equal(await owed(world), 0);
    await assertSound(world);
  },
);

inWorld('while Neutron is away a move turns back, the server runs on, and the rest is owed', async (world, neutron) => {
  const serverId = await newServer(world);
  const { host } = await serverOf(world, serverId);
  neutron.isDown = true;
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  assert.equal(await work(world, HOUR_MS), true, 'nobody waits for Neutron for ever');
  assert.deepEqual([(await serverOf(world, serverId)).vmState, runningOn(world, serverId)], ['active', [host]]);
  neutron.isDown = false;
  await beat(world, 6);
  assert.deepEqual(neutron.bound(serverId), [[`${host}*`]]);
  await assertSound(world);
});

inWorld('Neutron goes away in the middle of a hand over: the source has its port again', async (world, neutron) => {
  const serverId = await newServer(world);
  const { host } = await serverOf(world, serverId);
  neutron.afterWrite = async (what) => {
    if (what !== 'activate') return;
    neutron.isDown = true;
    throw new ServiceDown('the answer is lost');
  };
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  assert.equal(await work(world, HOUR_MS), true);
  assert.deepEqual([(await serverOf(world, serverId)).vmState, runningOn(world, serverId)], ['active', [host]]);
  neutron.isDown = false;
  neutron.afterWrite = async () => undefined;
  await beat(world, 6);
  assert.deepEqual(neutron.bound(serverId), [[`${host}*`]]);
});

inWorld('a delete does not wait for Neutron; its ports go when it is back', async (world, neutron) => {
  const serverId = await newServer(world);
  neutron.isDown = true;
  await accept(world, deleteServer(world.p, world.user, serverId));
  assert.equal(await work(world, HOUR_MS), true);
  assert.equal(neutron.ports.size, 1);
  neutron.isDown = false;
  await beat(world, 6);
  assert.equal(neutron.ports.size, 0);
  assert.equal(await owed(world), 0);
});

inWorld('a server that cannot be made leaves no port', async (world, neutron) => {
  await world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name: 'one', imageId: world.imageId, flavorId: FLAVORS.small, zone: 'nowhere', keyName: null, tags: [] },
      ...{ networkIds: [world.networkId], metadata: {}, description: null, diskConfig: 'AUTO' },
    }),
  );
  assert.equal(neutron.ports.size, 1);
  await beat(world, 6);
  assert.equal(neutron.ports.size, 1, 'not before a create that is under way would have recorded it');
  await world.clock.pass(600_000);
  await beat(world, 6);
  assert.equal(neutron.ports.size, 0);
  assert.equal(await owed(world), 0);
});

inWorld('a port that somebody deletes in Neutron stops a move, and not the delete', async (world, neutron) => {
  const serverId = await newServer(world);
  neutron.ports.clear();
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active');
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  assert.equal(await owed(world), 0);
});

inWorld('whoever settles what is outdated by then settles again', async (world, neutron) => {
  const serverId = await requestServer(world, FLAVORS.small);
  await settle(world);
  const { global } = world.p.stores;
  const { host } = await serverOf(world, serverId);
  const bindings = global.updateTable('port_bindings');
  await bindings.set({ host: 'elsewhere' }).execute();
  neutron.afterWrite = async (what) => {
    if (what === 'activate') await bindings.set({ host: host ?? '' }).execute();
  };
  await world.clock.drive(world.p.network?.settle(world.p, serverId) ?? Promise.resolve());
  assert.deepEqual(neutron.bound(serverId), [[`${host}*`]]);
});
