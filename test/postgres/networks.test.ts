// The network service on PostgreSQL, where its transactions run side by side: every list and every change once, and the
// things that two may do at the same moment.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { createFloatingIp, listFloatingIps, updateFloatingIp } from '../../src/control/network/floating-ips.ts';
import { claimPort } from '../../src/control/network/interfaces.ts';
import { deleteNetwork, listNetworks } from '../../src/control/network/networks.ts';
import { createPort } from '../../src/control/network/port-create.ts';
import { updatePort } from '../../src/control/network/port-update.ts';
import { listPorts } from '../../src/control/network/ports.ts';
import { networkUsage, setNetworkLimits } from '../../src/control/network/quotas.ts';
import { addInterface, removeInterface } from '../../src/control/network/router-interfaces.ts';
import { createRouter, deleteRouter, listRouters } from '../../src/control/network/routers.ts';
import { createRules, listRules } from '../../src/control/network/security-group-rules.ts';
import { createGroup, defaultGroupOf, listGroups } from '../../src/control/network/security-groups.ts';
import { seedNetworks } from '../../src/control/network/seed.ts';
import {
  addGroupToServer,
  floatingIpsOfServers,
  groupNamesOfServers,
  removeGroupFromServer,
} from '../../src/control/network/server-networks.ts';
import { createSubnet, listSubnets } from '../../src/control/network/subnets.ts';
import { createPortForServer } from '../../src/control/network.ts';
import { newId } from '../../src/lib/ids.ts';
import type { Actor } from '../../src/model/types.ts';
import type { GlobalTables } from '../../src/store/global-schema.ts';
import { openStores } from '../../src/store/stores.ts';
import { startPostgres, type TestPostgres } from '../../src/store/test-postgres.ts';

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
      for (const other of [
        (portId: string) => addInterface(b.global, actor, router.value.id, { portId, now }),
        (portId: string) => updatePort(b.global, actor, portId, { deviceId: 'mine', now }),
      ]) {
        const port = await createPort(db, actor, { networkId: network, now });
        assert(port.kind === 'ok');
        const { id } = port.value;
        const late = await db.transaction().execute(async (trx) => {
          const claim = { serverId: newId(), projectId: 'p', newPortId: id, tag: null, now };
          assert.deepEqual(await claimPort(trx, actor, { kind: 'port', portId: id }, claim), { portId: id });
          const waiting = other(id);
          await somebodyWaits(db);
          return { waiting };
        });
        const answer = await late.waiting;
        assert.equal(answer.kind === 'refused' && answer.refusal.type, 'PortInUse');
      }
    } finally {
      await a.close();
      await b.close();
    }
  });
}

/** Until a session waits for a lock that another one has. */
async function somebodyWaits(db: Kysely<GlobalTables>): Promise<void> {
  for (;;) {
    const { rows } = await sql`select 1 from pg_locks where not granted`.execute(db);
    if (rows.length > 0) return;
  }
}
