// The network service on PostgreSQL, where its transactions run side by side: every list and every change once, and the
// things that two may do at the same moment.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type Kysely, type RawBuilder, sql } from 'kysely';
import { unbindPort } from '../../src/audit/repairs/globals.ts';
import type { Repaired } from '../../src/audit/repairs/proof.ts';
import { createFloatingIp, listFloatingIps, updateFloatingIp } from '../../src/control/network/floating-ips.ts';
import { claimPort } from '../../src/control/network/interfaces.ts';
import { listIpAvailability } from '../../src/control/network/ip-availability.ts';
import { createNetwork, deleteNetwork, listNetworks } from '../../src/control/network/networks.ts';
import { createPort } from '../../src/control/network/port-create.ts';
import { updatePort } from '../../src/control/network/port-update.ts';
import { listPorts } from '../../src/control/network/ports.ts';
import { NETWORKS, networkUsage, setNetworkLimits } from '../../src/control/network/quotas.ts';
import type { NetworkResult } from '../../src/control/network/results.ts';
import { addInterface, removeInterface } from '../../src/control/network/router-interfaces.ts';
import { createRouter, deleteRouter, listRouters } from '../../src/control/network/routers.ts';
import { createRules, listRules } from '../../src/control/network/security-group-rules.ts';
import { createGroup, defaultGroupOf, deleteGroup, listGroups } from '../../src/control/network/security-groups.ts';
import { seedNetworks } from '../../src/control/network/seed.ts';
import {
  addGroupToServer,
  floatingIpsOfServers,
  groupNamesOfServers,
  removeGroupFromServer,
} from '../../src/control/network/server-networks.ts';
import { createSubnet, deleteSubnet, listSubnets, updateSubnet } from '../../src/control/network/subnets.ts';
import { createPortForServer, deletePortsOfServer } from '../../src/control/network.ts';
import type { Platform } from '../../src/control/platform.ts';
import { newId } from '../../src/lib/ids.ts';
import type { Actor } from '../../src/model/types.ts';
import { atomically, exclusively, forUpdate } from '../../src/store/dialect.ts';
import type { GlobalTables } from '../../src/store/global-schema.ts';
import { nextFence } from '../../src/store/sagas.ts';
import { openStores } from '../../src/store/stores.ts';
import { startPostgres, type TestPostgres } from '../../src/store/test-postgres.ts';
import { meanwhile, waiting } from './meanwhile.ts';

const actor: Actor = { userId: 'u', projectId: 'p', roles: ['member'], requestId: 'req' };
const now = 1_800_000_000_000;

const server = await startPostgres();
if (server.kind === 'unavailable') test('networks on PostgreSQL', { skip: server.reason }, () => undefined);
else {
  after(() => server.stop());
  networks(server);
}

function networks(server: TestPostgres): void {
  test('networks on PostgreSQL', async () => {
    const at = await server.stores(['c1']);
    const [a, b] = [await openStores(at), await openStores(at)];
    try {
      const dbs = [a.global, b.global, a.global, b.global];
      const cidrs = { networkCidr: '10.42.0.0/28', externalCidr: '172.24.4.0/24' };
      await Promise.all(dbs.map((db) => seedNetworks(db, cidrs, now)));
      const inside = { where: { 'router:external': [0] }, limit: 9 };
      const [network] = await listNetworks(a.global, actor, inside);
      const [outside] = await listNetworks(a.global, actor, { ...inside, where: { 'router:external': [1] } });
      assert(network && outside);
      assert.equal((await listRouters(a.global, { ...actor, admin: true }, { limit: 9 })).length, 1);

      const groups = await Promise.all(dbs.map((db) => defaultGroupOf(db, 'p', now)));
      assert.equal(new Set(groups).size, 1, 'one default group');
      assert.equal((await listRules(a.global, actor, { limit: 9 })).length, 4);
      const rule = { groupId: groups[0] ?? '', direction: 'ingress', protocol: 'tcp', portMin: 1, portMax: 2 } as const;
      const rules = await Promise.all(dbs.map((db) => createRules(db, actor, [rule], now)));
      assert.deepEqual(rules.map((each) => each.kind).toSorted(), ['ok', 'refused', 'refused', 'refused']);

      await setNetworkLimits(a.global, 'p', { floatingip: 2 });
      const made = await Promise.all(dbs.map((db) => createFloatingIp(db, actor, { networkId: outside.id, now })));
      assert.deepEqual(made.map((each) => each.kind).toSorted(), ['ok', 'ok', 'refused', 'refused']);
      const serverId = newId();
      const port = await a.global.transaction().execute((trx) =>
        createPortForServer(trx, {
          ...{ serverId, projectId: 'p', networkId: network.id, host: 'h', generation: 1, now },
        }),
      );
      assert(port.kind === 'ok');
      const floating = await listFloatingIps(a.global, actor, { limit: 9 });
      const led = await Promise.all(
        floating.map(({ id }, index) =>
          updateFloatingIp(dbs[index] ?? a.global, actor, id, { association: { portId: port.port.id }, now }),
        ),
      );
      assert.deepEqual(led.map((each) => each.kind).toSorted(), ['ok', 'refused']);
      assert.equal((await floatingIpsOfServers(a.global, [serverId])).get(serverId)?.length, 1);

      const group = await createGroup(a.global, actor, { name: 'web', now });
      assert(group.kind === 'ok');
      assert.equal(await addGroupToServer(a.global, actor, serverId, 'web', now), null);
      assert.deepEqual((await groupNamesOfServers(a.global, [serverId])).get(serverId), ['default', 'web']);
      assert.equal(await removeGroupFromServer(a.global, actor, serverId, 'web', now), null);
      const page = { sort: [{ by: 'name', descending: true }], limit: 1 };
      const [first] = await listGroups(a.global, actor, page);
      const [second] = await listGroups(a.global, actor, { ...page, marker: first?.id ?? '' });
      assert.deepEqual([first?.name, second?.name], ['web', 'default']);

      const subnet = { networkId: network.id, name: 's2', cidr: '10.43.0.0/24', now };
      const administrator = { ...actor, projectId: '', admin: true };
      const subnets = await Promise.all(dbs.map((db) => createSubnet(db, administrator, subnet)));
      assert.deepEqual(subnets.map((each) => each.kind).toSorted(), ['ok', 'refused', 'refused', 'refused']);
      const [added] = await listSubnets(a.global, actor, { where: { name: ['s2'] }, tags: { none: ['x'] }, limit: 9 });
      const router = await createRouter(a.global, actor, { name: 'r', gateway: { networkId: outside.id }, now });
      assert(added && router.kind === 'ok');
      const wish = { subnetId: added.id, now };
      const joined = await Promise.all(dbs.map((db) => addInterface(db, actor, router.value.id, wish)));
      assert.deepEqual(joined.map((each) => each.kind).toSorted(), ['ok', 'refused', 'refused', 'refused']);
      assert.equal((await removeInterface(a.global, actor, router.value.id, wish)).kind, 'ok');
      assert.equal((await deleteRouter(a.global, actor, router.value.id)).kind, 'ok');

      const fixedIps = [{ subnetId: added.id }];
      const ports = await Promise.all(dbs.map((db) => createPort(db, actor, { networkId: network.id, fixedIps, now })));
      const ips = ports.flatMap((each) => (each.kind === 'ok' ? each.value.fixedIps.map(({ ip }) => ip) : []));
      assert.equal(new Set(ips).size, 4);
      const [mine] = await listPorts(a.global, actor, { limit: 9 }, { subnetIds: [added.id], active: false });
      const two = [{ subnetId: added.id }, { subnetId: added.id }];
      const changed = await updatePort(a.global, actor, mine?.id ?? '', { fixedIps: two, now });
      assert.equal(changed.kind === 'ok' && changed.value.fixedIps.length, 2);
      assert.equal((await networkUsage(a.global, 'p')).port, 5);
      const [left] = await listIpAvailability(a.global, { ids: [network.id] });
      assert.deepEqual(left?.subnets.map((each) => [each.name, each.total, each.used].join()).toSorted(), [
        's2,253,5',
        'shared-subnet,13,2',
      ]);
      assert.equal((await deleteNetwork(a.global, administrator, outside.id)).kind, 'refused');
    } finally {
      await a.close();
      await b.close();
    }
  });

  test('a free port on PostgreSQL is won once: what a server has, no router and no user takes', async () => {
    const at = await server.stores(['c1']);
    const [a, b] = [await openStores(at), await openStores(at)];
    try {
      const db = a.global;
      await seedNetworks(db, { networkCidr: '10.42.0.0/28', externalCidr: '172.24.4.0/24' }, now);
      const network = (await listNetworks(db, actor, { where: { shared: [1] }, limit: 1 }))[0]?.id ?? '';
      const router = await createRouter(db, actor, { name: 'r', now });
      assert(router.kind === 'ok');
      const others: readonly ((portId: string) => Promise<NetworkResult<object>>)[] = [
        (portId) => addInterface(b.global, actor, router.value.id, { portId, now }),
        (portId) => updatePort(b.global, actor, portId, { deviceId: 'mine', now }),
      ];
      for (const other of others) {
        const port = await createPort(db, actor, { networkId: network, now });
        assert(port.kind === 'ok');
        const { id } = port.value;
        const claim = { serverId: newId(), projectId: 'p', newPortId: id, tag: null, now };
        const claiming = async (trx: Kysely<GlobalTables>) =>
          assert.deepEqual(await claimPort(trx, actor, { kind: 'port', portId: id }, claim), { portId: id });
        const [answer] = await meanwhile(db, claiming, () => other(id));
        assert.equal(answer?.kind === 'refused' && answer.refusal.type, 'PortInUse');
      }
    } finally {
      await a.close();
      await b.close();
    }
  });

  test('what a new server needs on PostgreSQL is there, or the server is refused; and nobody takes it away', async () => {
    const at = await server.stores(['c1']);
    const [a, b] = [await openStores(at), await openStores(at)];
    try {
      const db = a.global;
      const make = async () => {
        const network = await createNetwork(db, actor, { name: 'n', now });
        const group = await createGroup(db, actor, { name: 'g', now });
        assert(network.kind === 'ok' && group.kind === 'ok');
        const wish = { networkId: network.value.id, name: '', cidr: '10.1.0.0/24', now };
        const subnet = await createSubnet(db, actor, wish);
        assert(subnet.kind === 'ok');
        return { networkId: network.value.id, subnetId: subnet.value.id, groupId: group.value.id };
      };
      type Made = Awaited<ReturnType<typeof make>>;
      const serve = (on: Kysely<GlobalTables>, { networkId, groupId }: Made) =>
        atomically(on, (trx) =>
          createPortForServer(trx, {
            ...{ serverId: newId(), projectId: 'p', networkId, groupIds: [groupId], host: 'h', generation: 1, now },
          }),
        );
      const cases: readonly {
        readonly remove: (of: Made) => Promise<NetworkResult<null>>;
        readonly refused: string;
        readonly away: (of: Made) => RawBuilder<unknown>;
        readonly code: number;
      }[] = [
        {
          remove: ({ groupId }) => deleteGroup(b.global, actor, groupId),
          refused: 'SecurityGroupInUse',
          away: ({ groupId }) => sql`delete from security_groups where id = ${groupId}`,
          code: 404,
        },
        {
          remove: ({ subnetId }) => deleteSubnet(b.global, actor, subnetId),
          refused: 'SubnetInUse',
          away: ({ subnetId }) => sql`delete from subnets where id = ${subnetId}`,
          code: 409,
        },
        {
          remove: ({ networkId }) => deleteNetwork(b.global, actor, networkId),
          refused: 'NetworkInUse',
          away: ({ networkId }) => sql`with subnet as (delete from subnets where network_id = ${networkId})
            delete from networks where id = ${networkId}`,
          code: 400,
        },
      ];
      for (const { remove, refused, away, code } of cases) {
        const used = await make();
        const [removed] = await meanwhile(
          db,
          (trx) => serve(trx, used),
          () => remove(used),
        );
        assert.equal(removed?.kind === 'refused' && removed.refusal.type, refused);
        const gone = await make();
        const [served] = await meanwhile(
          db,
          (trx) => away(gone).execute(trx),
          () => serve(b.global, gone),
        );
        assert.equal(served?.kind === 'refused' && served.refusal.code, code, refused);
      }
    } finally {
      await a.close();
      await b.close();
    }
  });

  test('a port that goes with its server on PostgreSQL is not there for those who would change it', async () => {
    const at = await server.stores(['c1']);
    const [a, b] = [await openStores(at), await openStores(at)];
    try {
      const db = a.global;
      await seedNetworks(db, { networkCidr: '10.42.0.0/28', externalCidr: '172.24.4.0/24' }, now);
      const networks = await listNetworks(db, actor, { limit: 2 });
      const [networkId, outside] = [true, false].map((shared) => networks.find((each) => each.shared === shared)?.id);
      const floating = await createFloatingIp(db, actor, { networkId: outside ?? '', now });
      assert(floating.kind === 'ok' && networkId !== undefined);
      const serverId = newId();
      const serve = () =>
        db
          .transaction()
          .execute((trx) =>
            createPortForServer(trx, { serverId, projectId: 'p', networkId, host: 'h', generation: 1, now }),
          );
      const others: readonly ((portId: string) => Promise<NetworkResult<object>>)[] = [
        (portId) => updatePort(b.global, actor, portId, { fixedIps: [{ ip: '10.42.0.9' }], now }),
        (portId) => updateFloatingIp(b.global, actor, floating.value.id, { association: { portId }, now }),
      ];
      for (const other of others) {
        const port = await serve();
        assert(port.kind === 'ok');
        const [answer] = await meanwhile(
          db,
          (trx) => deletePortsOfServer(trx, serverId),
          () => other(port.port.id),
        );
        assert.equal(answer?.kind === 'refused' && answer.refusal.type, 'PortNotFound');
      }
    } finally {
      await a.close();
      await b.close();
    }
  });

  test('changes of one subnet at the same time on PostgreSQL are both made', async () => {
    const at = await server.stores(['c1']);
    const [a, b] = [await openStores(at), await openStores(at)];
    try {
      const network = await createNetwork(a.global, actor, { name: 'n', now });
      assert(network.kind === 'ok');
      const wish = { networkId: network.value.id, name: '', cidr: '10.1.0.0/24', now };
      const subnet = await createSubnet(a.global, actor, wish);
      assert(subnet.kind === 'ok');
      const { id } = subnet.value;
      const pools = [{ start: '10.1.0.9', end: '10.1.0.20' }];
      await meanwhile(
        a.global,
        (trx) => exclusively(trx, NETWORKS),
        () => updateSubnet(b.global, actor, id, { gateway: null, now }),
        () => updateSubnet(b.global, actor, id, { pools, now }),
        () => updateSubnet(b.global, actor, id, { name: 'x', now }),
      );
      const [seen] = await listSubnets(a.global, actor, { where: { id: [id] }, limit: 1 });
      assert.deepEqual([seen?.gateway, seen?.pools, seen?.name], [null, pools, 'x']);
    } finally {
      await a.close();
      await b.close();
    }
  });

  test('a repair that waits for a port on PostgreSQL keeps nobody from the sequence of fences', async () => {
    const at = await server.stores(['c1']);
    const [a, b] = [await openStores(at), await openStores(at)];
    try {
      const network = await createNetwork(a.global, actor, { name: 'n', now });
      assert(network.kind === 'ok');
      const port = await createPort(a.global, actor, { networkId: network.value.id, name: '', now });
      assert(port.kind === 'ok');
      const { id } = port.value;
      const begun: Promise<Repaired>[] = [];
      await a.global.transaction().execute(async (trx) => {
        await trx.selectFrom('ports').select('id').where('id', '=', id).modifyEnd(forUpdate(trx)).execute();
        begun.push(unbindPort({ stores: { global: b.global } } as Platform, id, '', 'h'));
        await waiting(a.global, 1);
        await nextFence(trx);
      });
      const [repaired] = await Promise.all(begun);
      assert.equal(repaired?.kind, 'repaired');
    } finally {
      await a.close();
      await b.close();
    }
  });
}
