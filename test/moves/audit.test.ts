// The auditor over a whole system: it finds nothing in a healthy one at rest (at work: audit-at-work.test.ts), and names
// whatever is planted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AuditReport, audit, INVARIANTS, renderReport } from '../../src/audit/audit.ts';
import { owe } from '../../src/control/debts.ts';
import type { Reply } from '../../src/host/contract.ts';
import { newId } from '../../src/lib/ids.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { newSaga } from '../../src/store/sagas.ts';
import { CellDown } from '../../src/store/stores.ts';
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
import { snapshotOf } from './world-snapshot.ts';

/** A server that is ACTIVE in cell1, and one in VERIFY_RESIZE that came from cell1 to cell2. */
interface Healthy {
  readonly world: World;
  readonly active: string;
  readonly waiting: string;
}

async function healthy(use: (healthy: Healthy) => Promise<void>): Promise<void> {
  await withWorld(async (world) => {
    const waiting = await newServer(world, FLAVORS.small, 'waiting');
    await accept(world, resizeServer(world.p, world.user, waiting, { flavorId: FLAVORS.big }));
    const active = await newServer(world, FLAVORS.small, 'active');
    await settle(world);
    // What has only just ended counts as busy.
    await world.clock.pass(1000);
    await use({ world, active, waiting });
  });
}

const broken = (report: AuditReport) => report.invariants.filter((each) => each.verdict === 'broken');

const cellOf = async ({ world }: Healthy, name: string) => {
  const { id } = await world.p.stores.global
    .selectFrom('cells')
    .select('id')
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
  return world.p.stores.cell(id);
};

const setRecord = async (h: Healthy, change: Record<string, unknown>, server = h.active, cell = 'cell1') => {
  await (await cellOf(h, cell)).updateTable('servers').set(change).where('id', '=', server).execute();
};

const setMapping = async ({ world, active }: Healthy, change: Record<string, unknown>) => {
  const { global } = world.p.stores;
  await global.updateTable('server_mappings').set(change).where('server_id', '=', active).execute();
};

const ok = <T>(reply: Reply<T>): T => {
  assert(reply.kind === 'ok', JSON.stringify(reply));
  return reply.value;
};

const GENERATION = 1_000_000;

async function plantGuest({ world, active }: Healthy, host: string, serverId: string): Promise<void> {
  const like = ok(await hostOf(world, (await serverOf(world, active)).host).agent.guest(active));
  const define = { generation: GENERATION, spec: like.spec, disk: 'fresh' } as const;
  ok(await world.clock.drive(hostOf(world, host).agent.define(serverId, define)));
}

async function plantSaga({ world }: Healthy, serverId: string, change: Record<string, unknown>): Promise<void> {
  const definition = { name: 'resize', version: 1, subject: 'server', steps: [], pivot: 0 };
  const saga = newSaga({ id: newId(), definition, key: serverId, state: {}, requestId: 'req' }, world.clock.now());
  await world.p.stores.global
    .insertInto('sagas')
    .values({ ...saga, ...change })
    .execute();
}

const hostRow = ({ world }: Healthy, name: string) =>
  world.p.stores.global.selectFrom('hosts').selectAll().where('name', '=', name).executeTakeFirstOrThrow();

/** A second migration, like the one that waits. Returns its uuid. */
async function plantMigration({ world }: Healthy, serverId: string, change: Record<string, unknown>): Promise<string> {
  const db = world.p.stores.global;
  const { id: _, ...like } = await db.selectFrom('migrations').selectAll().executeTakeFirstOrThrow();
  const uuid = newId();
  await db
    .insertInto('migrations')
    .values({ ...like, uuid, server_id: serverId, confirm_at: null, ...change })
    .execute();
  return uuid;
}

interface Plant {
  readonly name: string;
  plant(h: Healthy): Promise<void>;
  /** Invariants that must be broken, each with what one of its breaches says. */
  readonly breaks: Readonly<Record<string, RegExp>>;
  /** Those of them that hold when the audit has repaired what it can prove; the others are left exactly as they are. */
  readonly repairs?: readonly string[];
}

const PLANTS: readonly Plant[] = [
  {
    name: 'a record that is lost',
    plant: async (h) => {
      const cell = await cellOf(h, 'cell1');
      await cell.deleteFrom('server_actions').where('server_id', '=', h.active).execute();
      await cell.deleteFrom('servers').where('id', '=', h.active).execute();
    },
    breaks: { 'one home': /has no record in its home, cell cell1/ },
  },
  {
    name: 'a record in two cells',
    plant: async (h) => {
      const row = await (await cellOf(h, 'cell1'))
        .selectFrom('servers')
        .selectAll()
        .where('id', '=', h.active)
        .executeTakeFirstOrThrow();
      await (await cellOf(h, 'cell2')).insertInto('servers').values(row).execute();
    },
    breaks: { 'one record': /cell cell2 keeps a record of server .* which lives in cell cell1/ },
    repairs: ['one record'],
  },
  {
    name: 'a record without a home',
    plant: async (h) => {
      const row = await (await cellOf(h, 'cell1'))
        .selectFrom('servers')
        .selectAll()
        .where('id', '=', h.active)
        .executeTakeFirstOrThrow();
      await (await cellOf(h, 'cell2'))
        .insertInto('servers')
        .values({ ...row, id: newId() })
        .execute();
    },
    breaks: { 'one record': /which has no home/ },
  },
  {
    name: 'instance actions left behind',
    plant: async (h) => {
      const action = {
        id: newId(),
        server_id: h.active,
        action: 'resize',
        request_id: 'r',
        user_id: 'u',
        project_id: 'p',
      };
      await (await cellOf(h, 'cell2'))
        .insertInto('server_actions')
        .values({ ...action, saga_id: null, message: null, started_at: 1, finished_at: null })
        .execute();
    },
    breaks: { 'one record': /in server_actions but no record/ },
    repairs: ['one record'],
  },
  {
    name: 'a block device mapping left behind',
    plant: async (h) => {
      const mapping = { volume_id: newId(), device: '/dev/vdb', boot_index: null, delete_on_termination: 0, tag: null };
      await (await cellOf(h, 'cell2'))
        .insertInto('block_device_mappings')
        .values({ ...mapping, id: newId(), server_id: h.active, created_at: 1 })
        .execute();
    },
    breaks: { 'one record': /in block_device_mappings but no record/ },
    repairs: ['one record'],
  },
  {
    name: 'a member of a server group that is no server',
    plant: async ({ world }) => {
      const { global } = world.p.stores;
      const group = { id: newId(), name: 'g', project_id: 'p', user_id: 'u', policy: 'affinity' };
      await global
        .insertInto('server_groups')
        .values({ ...group, max_server_per_host: null, created_at: 1 })
        .execute();
      const member = { group_id: group.id, server_id: newId(), joined_at: 1 };
      await global.insertInto('server_group_members').values(member).execute();
    },
    breaks: { 'members of groups': /as a member, which does not exist/ },
    repairs: ['members of groups'],
  },
  {
    name: 'a disk that other hosts can read while nothing moves',
    plant: async ({ world, waiting }) => {
      const source = [...world.hosts.values()].find(
        (host) => host.cell === 'cell1' && host.hypervisor.diskWords(waiting),
      );
      assert(source);
      const { generation } = ok(await source.agent.guest(waiting));
      ok(await world.clock.drive(source.agent.openExport(waiting, { generation })));
    },
    breaks: { 'exports have owners': /exports the disk of server .*, which no move reads/ },
    repairs: ['exports have owners'],
  },
  {
    name: 'a frozen record',
    plant: (h) => setRecord(h, { frozen: 1 }),
    breaks: { 'record at rest': /is frozen/ },
    repairs: ['record at rest'],
  },
  {
    name: 'a server that builds for ever',
    plant: (h) => setRecord(h, { vm_state: 'building' }),
    breaks: { 'record at rest': /is building/ },
  },
  {
    name: 'a resize that waits without its migration',
    plant: async (h) => {
      await h.world.p.stores.global.updateTable('migrations').set({ status: 'confirmed' }).execute();
    },
    breaks: {
      'record at rest': /waits to be confirmed without a finished move/,
      'guests have owners': /is elsewhere/,
      'room has owners': /holds room although it is closed/,
      ports: /is bound \(inactive\)/,
    },
  },
  {
    name: 'a soft-deleted server that counts in the quota',
    plant: (h) => setRecord(h, { vm_state: 'soft-delete' }),
    breaks: {
      'record at rest': /is soft-delete although its mapping says otherwise/,
      'guest as recorded': /runs on .* although the server is soft-delete and off/,
    },
  },
  {
    name: 'an old flavor that was forgotten',
    plant: (h) => setRecord(h, { old_flavor_json: null }, h.waiting, 'cell2'),
    breaks: { 'record at rest': /old flavor/ },
  },
  {
    name: 'two guests that run',
    plant: async (h) => {
      for (const host of h.world.hosts.values()) {
        const on = { generation: GENERATION, power: 'on', graceSeconds: 0 } as const;
        if ((await host.agent.guest(h.waiting)).kind === 'ok')
          ok(await h.world.clock.drive(host.agent.setPower(h.waiting, on)));
      }
    },
    breaks: { 'one guest': /run at the same time on cell1-. and cell2-./, 'way back kept': /runs although/ },
  },
  {
    name: 'a guest that died',
    plant: async (h) => hostOf(h.world, (await serverOf(h.world, h.active)).host).hypervisor.crash(h.active),
    breaks: { 'guest as recorded': /is off on cell1-. although the server is active/ },
  },
  {
    name: 'a guest that runs although its server is stopped',
    plant: (h) => setRecord(h, { vm_state: 'stopped', power_state: 4 }),
    breaks: { 'guest as recorded': /runs on cell1-. although the server is stopped/ },
  },
  {
    name: 'a guest that is lost',
    plant: async (h) => {
      const host = hostOf(h.world, (await serverOf(h.world, h.active)).host);
      await h.world.clock.drive(host.agent.destroy(h.active, { generation: GENERATION }));
    },
    breaks: { 'guest as recorded': /has no guest on its host/ },
  },
  {
    name: 'a server on a host that nobody knows',
    plant: (h) => setRecord(h, { host: 'nowhere' }),
    breaks: { 'guest as recorded': /recorded on host nowhere/ },
  },
  {
    name: 'a guest of no server',
    plant: (h) => plantGuest(h, 'cell2-b', newId()),
    breaks: { 'guests have owners': /cell2-b keeps a stopped guest of server .* does not exist/ },
  },
  {
    name: 'a guest on the wrong host',
    plant: (h) => plantGuest(h, 'cell2-b', h.active),
    breaks: { 'guests have owners': /cell2-b keeps a stopped guest of server .* is elsewhere/ },
    repairs: ['guests have owners'],
  },
  {
    name: 'a way back that is lost',
    plant: async (h) => {
      for (const host of h.world.hosts.values()) {
        if (host.cell === 'cell1') await h.world.clock.drive(host.agent.destroy(h.waiting, { generation: GENERATION }));
      }
    },
    breaks: { 'way back kept': /is gone although its move may be reverted/ },
  },
  {
    name: 'a way back without ports, and a state to go back to',
    plant: async (h) => {
      await setRecord(h, { old_vm_state: null }, h.waiting, 'cell2');
      const { global } = h.world.p.stores;
      const ports = global.selectFrom('ports').select('id').where('device_id', '=', h.waiting);
      await global.deleteFrom('port_bindings').where('port_id', 'in', ports).where('active', '=', 0).execute();
    },
    breaks: { 'way back whole': /is not known to have been on or off|has no binding on cell1-. to go back to/ },
  },
  {
    name: 'a move that waits, by its migration, somewhere else',
    plant: async (h) => {
      const { global } = h.world.p.stores;
      const other = await global.selectFrom('cells').select('id').where('name', '=', 'cell2').executeTakeFirstOrThrow();
      const wrong = { dest_host: 'cell2-z', source_cell_id: other.id };
      await global.updateTable('migrations').set(wrong).where('server_id', '=', h.waiting).execute();
    },
    breaks: { 'way back whole': /went to cell2-z; server .* is on cell2-|came from another cell/ },
  },
  {
    name: 'a host in another cell than its servers',
    plant: async (h) => {
      const { host } = await serverOf(h.world, h.active);
      const { global } = h.world.p.stores;
      const other = await global.selectFrom('cells').select('id').where('name', '=', 'cell2').executeTakeFirstOrThrow();
      await global.updateTable('hosts').set({ cell_id: other.id }).where('name', '=', host).execute();
    },
    breaks: { 'hosts in their cells': /lives in cell .*; its host cell1-. is of cell/ },
  },
  {
    name: 'allocations that are wrong',
    plant: async (h) => {
      await h.world.p.stores.global
        .updateTable('allocations')
        .set({ used: 2 })
        .where('consumer_id', '=', h.active)
        .where('resource_class', '=', 'VCPU')
        .execute();
    },
    breaks: { allocations: /holds 2 VCPU.* is owed 1 VCPU/, quota: /is counted 2 cores and .* and is 1 cores/ },
  },
  {
    name: 'room that nobody holds for a server',
    plant: async (h) => {
      await h.world.p.stores.global.deleteFrom('consumers').where('id', '=', h.active).execute();
    },
    breaks: { allocations: /holds 0 VCPU.* is owed 1 VCPU/ },
  },
  {
    name: 'more allocated than there is',
    plant: async (h) => {
      await h.world.p.stores.global
        .updateTable('inventories')
        .set({ total: 100 })
        .where('resource_class', '=', 'MEMORY_MB')
        .execute();
    },
    breaks: { capacity: /1024 MEMORY_MB are allocated of host cell2-., which has 100/ },
  },
  {
    name: 'a consumer without a server',
    plant: async (h) => {
      const consumer = { type: 'server', server_id: newId(), project_id: 'p', user_id: 'u', generation: 1 };
      await h.world.p.stores.global
        .insertInto('consumers')
        .values({ id: consumer.server_id, ...consumer })
        .execute();
    },
    breaks: { 'room has owners': /holds room although it does not exist/ },
    repairs: ['room has owners'],
  },
  {
    name: 'room that counts for another project',
    plant: async (h) => {
      await h.world.p.stores.global
        .updateTable('consumers')
        .set({ project_id: 'other' })
        .where('id', '=', h.active)
        .execute();
    },
    breaks: { 'room has owners': /another project/, quota: /is counted 0 cores .* and is 1 cores/ },
  },
  {
    name: 'room that a closed move still holds',
    plant: async (h) => {
      const uuid = await plantMigration(h, h.active, { status: 'error' });
      const { id } = await hostRow(h, 'cell2-b');
      const consumer = { type: 'migration', server_id: h.active, project_id: h.world.user.projectId, user_id: 'u' };
      await h.world.p.stores.global
        .insertInto('consumers')
        .values({ id: uuid, ...consumer, generation: 1 })
        .execute();
      await h.world.p.stores.global
        .insertInto('allocations')
        .values({ consumer_id: uuid, provider_id: id, resource_class: 'VCPU', used: 1 })
        .execute();
    },
    breaks: { 'room has owners': /move .* holds room although it is closed/ },
    repairs: ['room has owners'],
  },
  {
    name: 'a provider that is no host',
    plant: async (h) => {
      const provider = { id: newId(), name: 'gone', cell_id: 'c', generation: 0 };
      await h.world.p.stores.global.insertInto('providers').values(provider).execute();
    },
    breaks: { 'room has owners': /provider gone is no host/ },
    repairs: ['room has owners'],
  },
  {
    name: 'a port without an active binding',
    plant: async (h) => {
      await h.world.p.stores.global.updateTable('port_bindings').set({ active: 0 }).execute();
    },
    breaks: { ports: /has 0 active bindings/ },
  },
  {
    name: 'a port bound elsewhere',
    plant: async (h) => {
      const { host } = await serverOf(h.world, h.active);
      await h.world.p.stores.global
        .updateTable('port_bindings')
        .set({ host: 'cell2-b' })
        .where('host', '=', host)
        .where('active', '=', 1)
        .execute();
    },
    breaks: { ports: /is bound \(active\) to cell2-b; the server is on cell1-./ },
  },
  {
    name: 'a binding that is left of a move',
    plant: async (h) => {
      const ports = h.world.p.stores.global.selectFrom('ports').select('id').where('device_id', '=', h.active);
      const { id } = await ports.executeTakeFirstOrThrow();
      await h.world.p.stores.global
        .insertInto('port_bindings')
        .values({ port_id: id, host: 'cell2-b', active: 0, generation: 1 })
        .execute();
    },
    breaks: { ports: /is bound \(inactive\) to cell2-b/ },
    repairs: ['ports'],
  },
  {
    name: 'a port of a server that does not exist',
    plant: async (h) => {
      await h.world.p.stores.global
        .updateTable('ports')
        .set({ device_id: newId() })
        .where('device_id', '=', h.active)
        .execute();
    },
    breaks: { 'ports have owners': /which does not exist/ },
    repairs: ['ports have owners'],
  },
  {
    name: 'a detached port that is bound',
    plant: async (h) => {
      await h.world.p.stores.global
        .updateTable('ports')
        .set({ device_id: '' })
        .where('device_id', '=', h.active)
        .execute();
    },
    breaks: { 'ports have owners': /attached to nothing and bound to cell1-./ },
    repairs: ['ports have owners'],
  },
  {
    name: 'a mapping of another project and another user than its record',
    plant: (h) => setMapping(h, { project_id: 'other', user_id: 'another' }),
    breaks: { 'mapping as recorded': /is by its record of (project|user) .*, and not (other|another)$/ },
  },
  {
    name: 'a mapping of another flavor than its record',
    plant: async (h) => {
      const { flavor } = await serverOf(h.world, h.active);
      await setMapping(h, { flavor_json: JSON.stringify({ ...flavor, name: 'huge', vcpus: 64 }) });
    },
    breaks: { 'mapping as recorded': /of flavor .*, and not as its mapping says, huge$/ },
  },
  {
    name: 'a running server that is to leave its host',
    plant: (h) => setMapping(h, { offload_at: Number.MAX_SAFE_INTEGER }),
    breaks: { 'mapping as recorded': /active although its mapping has it leave its host$/ },
  },
  {
    name: 'a guest that runs and is off by its record',
    plant: (h) => setRecord(h, { power_state: 4 }),
    breaks: { 'guest as recorded': /runs on cell1-. although its record says that it is off$/ },
  },
  {
    name: 'a task of no saga',
    plant: (h) => setRecord(h, { task_state: 'resize_prep' }),
    breaks: { 'tasks have sagas': /held by task resize_prep/ },
    repairs: ['tasks have sagas'],
  },
  {
    name: 'a server held by a saga that ended',
    plant: (h) => setRecord(h, { saga_id: newId() }),
    breaks: { 'tasks have sagas': /held by saga .*, which is not under way/ },
    repairs: ['tasks have sagas'],
  },
  {
    name: 'a server held by another saga than the one at work',
    plant: async (h) => {
      await plantSaga(h, h.active, {});
      await setRecord(h, { saga_id: newId() });
    },
    breaks: { 'tasks have sagas': /while saga .* works on it/ },
  },
  {
    name: 'a stuck saga',
    plant: (h) => plantSaga(h, h.active, { status: 'stuck', reason: 'the disk is full' }),
    breaks: { 'sagas have servers': /is stuck/ },
  },
  {
    name: 'a saga of no server',
    plant: (h) => plantSaga(h, newId(), {}),
    breaks: { 'sagas have servers': /works on a server that does not exist/ },
  },
  {
    name: 'a saga that nobody goes on with',
    plant: (h) => plantSaga(h, h.active, { created_at: 1 }),
    breaks: { 'sagas have servers': /nobody goes on with resize/ },
  },
  {
    name: 'a migration that its saga forgot to close',
    plant: async (h) => {
      await h.world.p.stores.global.updateTable('migrations').set({ status: 'migrating' }).execute();
    },
    breaks: { 'ended moves hold nothing': /is migrating although nothing is under way/ },
  },
  {
    name: 'a migration that an unwound saga left open',
    plant: async (h) => {
      const saga = newId();
      await plantSaga(h, h.active, { id: saga, status: 'unwound', ended_at: 1, created_at: 1 });
      await plantMigration(h, h.active, { status: 'migrating', saga_id: saga });
    },
    breaks: { 'ended moves hold nothing': /is migrating although nothing is under way/ },
    repairs: ['ended moves hold nothing'],
  },
  {
    name: 'a move that waits for a server that does not exist',
    plant: async (h) => {
      await plantMigration(h, newId(), { status: 'finished' });
    },
    breaks: { 'ended moves hold nothing': /waits for server .* which does not exist/ },
    repairs: ['ended moves hold nothing'],
  },
  {
    name: 'an image without its file',
    plant: (h) => h.world.images.remove(h.world.imageId),
    breaks: { images: /the file of image .* is missing/ },
  },
  {
    name: 'an image file that was changed',
    plant: async (h) => h.world.images.write(h.world.imageId, Buffer.from('something else'), h.world.clock),
    breaks: { images: /has 14 bytes instead of 8/ },
  },
  {
    name: 'an image file of no image',
    plant: async (h) => h.world.images.write(newId(), Buffer.alloc(0), h.world.clock),
    breaks: { images: /belongs to no image/ },
  },
  {
    name: 'an image that a server still needs',
    plant: async (h) => {
      await h.world.p.stores.global.deleteFrom('images').execute();
    },
    breaks: { images: /image .* of server .* is gone/ },
  },
];

test('a healthy system holds every invariant', () =>
  healthy(async ({ world }) => {
    const report = await auditWorld(world);
    assert.deepEqual(broken(report), []);
    assert.equal(report.verdict, 'held');
    assert.equal(report.invariants.length, INVARIANTS.length);
    assert.deepEqual(report.counts, { cells: 2, hosts: 4, servers: 2, guests: 3, busy: 0 });
    assert.deepEqual(report.owed, []);
    const text = renderReport(report);
    assert.match(
      text,
      new RegExp(`audit: held \\(${INVARIANTS.length} of ${INVARIANTS.length} invariants held, 0 broken`),
    );
    for (const { name, sentence } of INVARIANTS) assert.ok(text.includes(name) && text.includes(sentence));
  }));

for (const { name, plant, breaks } of PLANTS) {
  test(`the auditor names ${name}`, () =>
    healthy(async (h) => {
      await plant(h);
      const report = await auditWorld(h.world);
      assert.equal(report.verdict, 'broken');
      for (const [invariant, text] of Object.entries(breaks)) {
        const found = report.invariants.find((each) => each.name === invariant);
        assert.equal(found?.verdict, 'broken', `${invariant} is ${found?.verdict}: ${renderReport(report)}`);
        assert.equal(found.held, false);
        assert.ok(
          found.breaches.some((breach) => text.test(breach.what)),
          `${invariant}: ${found.breaches.map((breach) => breach.what).join('; ')}`,
        );
        for (const { cause, repair } of found.breaches) assert.ok(cause.length > 0 && repair.length > 0);
      }
      assert.match(renderReport(report), /BROKEN .*\n +- .*\n +likely cause: .*\n +repair: /);
      // Server by server: what is wrong does not depend on how the system is cut.
      const sliced = await h.world.clock.drive(audit(h.world.p, { sliceRows: 1 }));
      const whats = (each: AuditReport) =>
        each.invariants.map(({ breaches }) => breaches.map(({ what }) => what).sort());
      assert.deepEqual(whats(sliced), whats(report));
      assert.deepEqual(sliced.counts, report.counts);
    }));
}

for (const { name, plant, breaks, repairs = [] } of PLANTS) {
  const all = Object.keys(breaks).every((each) => repairs.includes(each));
  test(`--repair ${repairs.length === 0 ? 'leaves alone' : all ? 'mends' : 'mends what it can of'} ${name}`, () =>
    healthy(async (h) => {
      await plant(h);
      const before = await snapshotOf(h.world);
      const report = await h.world.clock.drive(audit(h.world.p, { repair: true }));
      const verdicts = new Map(report.invariants.map((each) => [each.name, each.verdict]));
      for (const invariant of Object.keys(breaks)) {
        const expected = repairs.includes(invariant) ? 'held' : 'broken';
        assert.equal(verdicts.get(invariant), expected, `${invariant}: ${renderReport(report)}`);
      }
      for (const { repaired, note } of report.repairs) assert.ok(note.length > 0 && (!repaired || repairs.length > 0));
      if (repairs.length === 0) assert.deepEqual(await snapshotOf(h.world), before);
      if (!all) return;
      assert.match(renderReport(report), /\nrepaired:\n {2}.*: .*\n/);
      await h.world.clock.pass(60_000);
      await beat(h.world);
      const after = await auditWorld(h.world);
      assert.equal(after.verdict, 'held', renderReport(after));
      assert.deepEqual(after.owed, []);
    }));
}

test('every invariant is broken by one of these plants', () => {
  // Those of volumes have their plants in volumes-audit.test.ts, those of files in files-audit.test.ts.
  const elsewhere = [
    ...['files there', 'files have owners'],
    ...['volumes', 'status of volumes', 'access to volumes', 'volumes kept', 'snapshots kept'],
    ...['snapshots at rest', 'one server per volume'],
  ];
  const named = new Set([...PLANTS.flatMap((each) => Object.keys(each.breaks)), ...elsewhere]);
  assert.deepEqual(
    INVARIANTS.map((each) => each.name).filter((name) => !named.has(name)),
    [],
  );
});

test('of a saga that is stuck in an undo the cause is what that was refused with, not why it turned back', () =>
  healthy(async (h) => {
    const failed = { outcome: 'failed', firstAt: 1, at: 2, attempts: 1 };
    const journal = [
      { ...failed, step: 'start target', direction: 'do', note: 'no memory' },
      { ...failed, step: 'stop source', direction: 'undo', note: 'the disk is gone' },
    ];
    const turned = { status: 'stuck', direction: 'undo', reason: 'start target: no memory' };
    await plantSaga(h, h.active, { ...turned, journal_json: JSON.stringify(journal) });
    const { invariants } = await auditWorld(h.world);
    const breaches = invariants.find(({ name }) => name === 'sagas have servers')?.breaches;
    assert.deepEqual(
      breaches?.map(({ cause }) => cause),
      ['undo stop source: the disk is gone'],
    );
  }));

test('what an open debt accounts for is owed and breaks nothing', () =>
  healthy(async (h) => {
    await plantGuest(h, 'cell2-b', h.active);
    const debt = { host: 'cell2-b', serverId: h.active, generation: 1, sagaId: newId(), reason: 'target of a move' };
    await owe(h.world.p, { kind: 'destroy-guest', ...debt });
    const report = await auditWorld(h.world);
    assert.equal(report.verdict, 'held');
    assert.deepEqual(
      report.owed.map(({ what, reason }) => [what, reason]),
      [[`guest of server ${h.active} on cell2-b`, 'target of a move']],
    );
    assert.match(renderReport(report), /owed, until it can be done:\n +guest of server/);
  }));

test('a host that does not answer makes invariants unknown, never held', () =>
  healthy(async ({ world, active }) => {
    const name = (await serverOf(world, active)).host;
    hostOf(world, name).down();
    const report = await auditWorld(world);
    assert.equal(report.verdict, 'unknown');
    for (const invariant of ['one guest', 'guest as recorded', 'guests have owners', 'way back kept']) {
      const found = report.invariants.find((each) => each.name === invariant);
      assert.equal(found?.verdict, 'unknown');
      assert.equal(found.held, false);
      assert.deepEqual(found.unknown, [`host ${name}: no route to host`]);
    }
    assert.equal(report.invariants.find((each) => each.name === 'allocations')?.verdict, 'held');
    assert.match(renderReport(report), /not looked at: host cell1/);
  }));

test('a cell that is down makes invariants unknown, and does not accuse what is in it', () =>
  healthy(async ({ world }) => {
    const { id } = await world.p.stores.global
      .selectFrom('cells')
      .select('id')
      .where('name', '=', 'cell2')
      .executeTakeFirstOrThrow();
    const stores = {
      ...world.p.stores,
      cell: async (cellId: string) => {
        if (cellId === id) throw new CellDown(cellId, 'no disk');
        return world.p.stores.cell(cellId);
      },
    };
    const report = await world.clock.drive(audit({ ...world.p, stores }));
    assert.deepEqual(broken(report), []);
    assert.equal(report.verdict, 'unknown');
    const unknown = report.invariants.filter((each) => each.verdict === 'unknown').map((each) => each.name);
    assert.ok(
      ['one home', 'one record', 'guest as recorded', 'allocations', 'ports'].every((name) => unknown.includes(name)),
    );
  }));

test('what is right again at the second look is no breach', () =>
  healthy(async (h) => {
    await setRecord(h, { frozen: 1 });
    let looks = 0;
    const clock = {
      now: () => h.world.clock.now(),
      sleep: async () => {
        looks += 1;
        await setRecord(h, { frozen: 0 });
      },
    };
    const report = await audit({ ...h.world.p, clock });
    assert.equal(looks, 1);
    assert.equal(report.verdict, 'held');
  }));

test('a guest seen on two hosts one after the other has not run twice', () =>
  healthy(async ({ world, waiting }) => {
    // The source's heartbeat is old: it says that the guest still runs there.
    const source = [...world.hosts.values()].find(
      (host) => host.cell === 'cell1' && host.hypervisor.diskWords(waiting),
    );
    assert(source);
    const beat = ok(await source.agent.heartbeat());
    const late = { ...source.remote, heartbeat: async () => ({ kind: 'ok', value: past }) as const };
    const past = { ...beat, guests: beat.guests.map((guest) => ({ ...guest, power: 'on' as const })) };
    const p = { ...world.p, host: async (name: string) => (name === source.name ? late : world.p.host(name)) };
    const report = await world.clock.drive(audit(p));
    assert.equal(report.invariants.find((each) => each.name === 'one guest')?.verdict, 'held');
  }));
