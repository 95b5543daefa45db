import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../../lib/property-testing.ts';
import { POWER_STATE, type Server } from '../../model/types.ts';
import { addressTest, type Query, safePattern, serverTest, sorted } from './server-filters.ts';
import { type Asking, wishOf } from './server-query.ts';

const flavor = {
  flavorId: '1',
  name: 'f',
  vcpus: 1,
  memoryMb: 1,
  rootGb: 1,
  ephemeralGb: 0,
  swapMb: 0,
  extraSpecs: {},
};
const base: Server = {
  id: 'a',
  name: 'web-1',
  hostname: 'web-1',
  description: null,
  projectId: 'p',
  userId: 'u',
  image: { id: 'i', minDiskGb: 0, minRamMb: 0, properties: {} },
  flavor,
  oldFlavor: null,
  vmState: 'active',
  taskState: null,
  oldVmState: null,
  shelvedImageId: null,
  powerState: POWER_STATE.RUNNING,
  progress: 0,
  sagaId: null,
  revision: 0,
  host: 'h1',
  zone: 'nova',
  requestedZone: null,
  keyName: null,
  metadata: {},
  tags: ['x', 'y'],
  locked: false,
  lockedBy: null,
  lockedReason: null,
  userData: null,
  configDrive: null,
  diskConfig: 'AUTO',
  reservationId: 'r-1',
  launchIndex: 0,
  accessIpV4: null,
  accessIpV6: null,
  fault: null,
  createdAt: 1,
  updatedAt: 1,
  launchedAt: 1,
  deletedAt: null,
};
const matches = (query: Query, server: Partial<Server> = {}, asking: Partial<Asking> = {}): boolean =>
  serverTest(wishOf(query, { minor: 96, admin: true, allFilters: true, ...asking }))({ ...base, ...server });
const USER = { admin: false, allFilters: false };

describe('filters of server lists', () => {
  it('take names as regular expressions', () => {
    assert.ok(matches({ name: 'web' }));
    assert.ok(matches({ name: '^web-[0-9]+$' }));
    assert.ok(!matches({ name: '^b' }));
    assert.ok(!matches({ name: 'a{' }), 'none that can be compiled strictly: compared as text');
    assert.ok(matches({ name: 'a{' }, { name: 'data{name' }));
  });

  it('never take long to match', () => {
    for (const evil of ['(a+)+$', '(a|aa)+$', '(.*)*b', 'a*a*a*a*a*a*b', '(?=a+)b', '(a)\\1{9}', '([a-z]+)*']) {
      assert.equal(safePattern(evil), null, evil);
    }
    // Each of these takes longer than anybody waits, or a hundred milliseconds for every server of a list.
    const evils = ['a?'.repeat(30) + 'a'.repeat(30), `${'(a|a)'.repeat(30)}b`, '.*.*b', '^x|.*.*b', '^.*.*.*b'];
    for (const evil of evils) assert.equal(safePattern(evil), null, evil);
  });

  it('take the expressions that people use', () => {
    for (const usual of ['web.*', '^web-.*-db-.*', '^(web|db|mq)-[0-9]+$', 'colou?r', 'web-1|web-2|web-3', '.*?x']) {
      assert.notEqual(safePattern(usual), null, usual);
    }
  });

  it('never throw, whatever the name is', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 255 }), (name) => typeof matches({ name }) === 'boolean'),
      { numRuns: 500 },
    );
  });

  it('read statuses as the API shows them', () => {
    assert.ok(matches({ status: ['ACTIVE'] }));
    assert.ok(matches({ status: ['error', 'active'] }));
    assert.ok(!matches({ status: ['ACTIVE'] }, { taskState: 'resize_prep' }));
    assert.ok(matches({ status: ['RESIZE'] }, { taskState: 'resize_prep' }));
    assert.ok(!matches({ status: ['NONSENSE'] }, {}, { minor: 37 }));
    assert.throws(() => matches({ status: ['NONSENSE'] }), { status: 400, message: 'Invalid status value' });
    assert.ok(matches({ status: ['ACTIVE'], vm_state: 'error' }), 'the status counts');
  });

  it('leave the administrators their own', () => {
    assert.ok(matches({ host: 'other' }, {}, USER), 'a user cannot find out the host');
    assert.ok(!matches({ host: 'other' }));
    assert.ok(matches({ host: 'h1' }));
  });

  it('count from their microversion', () => {
    for (const [query, minor] of [
      [{ tags: 'nowhere' }, 26],
      [{ 'changes-before': '1960-01-01T00:00:00Z' }, 66],
      [{ locked: 'true' }, 73],
      [{ key_name: 'nobodys' }, 83],
      [{ progress: '99' }, 83],
      [{ hostname: 'other' }, 90],
    ] as const) {
      assert.ok(matches(query, {}, { ...USER, minor: minor - 1 }), JSON.stringify(query));
      assert.ok(!matches(query, {}, { ...USER, minor }), JSON.stringify(query));
    }
  });

  it('find with its own time of change the server that shows it', () => {
    const updatedAt = Date.UTC(2026, 0, 1, 12, 0, 0, 737);
    const before = (time: string) => matches({ 'changes-before': time }, { updatedAt }, { ...USER, minor: 66 });
    assert.ok(before('2026-01-01T12:00:00Z'));
    assert.ok(!before('2026-01-01T11:59:59Z'));
  });

  it('are those of Nova, with its patterns', () => {
    const drive = { configDrive: {} as Server['configDrive'] };
    const cases: readonly (readonly [found: Query, missed: Query, server?: Partial<Server>])[] = [
      [{ config_drive: 'True' }, { config_drive: 'False' }, drive],
      [{ config_drive: 'False' }, { config_drive: 'True' }],
      [{ created_at: '1970-01-01' }, { created_at: '^2020' }],
      [{ launched_at: '1970-01-01 00:00:00' }, { launched_at: '1970' }, { launchedAt: 0 }],
      [{ terminated_at: '1970' }, { terminated_at: '1971' }, { deletedAt: 1 }],
      [{ progress: '4.' }, { progress: '5' }, { progress: 42 }],
      [{ power_state: '1' }, { power_state: '4' }],
      [{ image_ref: 'i' }, { image_ref: 'j' }],
      [{ launch_index: '^0$' }, { launch_index: '1' }],
      [{ kernel_id: '^$' }, { kernel_id: 'vmlinuz' }],
      [{ ramdisk_id: '^$' }, { ramdisk_id: 'initrd' }],
      [{ root_device_name: 'vda' }, { root_device_name: 'sda' }],
      [{ access_ip_v4: '^10[.]' }, { access_ip_v4: '^192' }, { accessIpV4: '10.0.0.9' }],
      [{ access_ip_v6: '^fd' }, { access_ip_v6: '^fe' }, { accessIpV6: 'fd00::9' }],
      [{ locked_by: 'owner' }, { locked_by: 'admin' }, { locked: true, lockedBy: 'owner' }],
      [{ display_description: 'b.t' }, { display_description: '^t' }, { description: 'a bit' }],
      [{ auto_disk_config: 'AUTO' }, { auto_disk_config: '0' }],
      [{ key_name: 'k' }, { key_name: '^e' }, { keyName: 'key' }],
      [{ availability_zone: '^no' }, { availability_zone: 'az' }],
    ];
    for (const [found, missed, server] of cases) {
      assert.ok(matches(found, server), JSON.stringify(found));
      if ('launched_at' in missed) assert.ok(!matches(missed, { launchedAt: null }));
      else assert.ok(!matches(missed, server), JSON.stringify(missed));
    }
  });

  it('find deleted servers for administrators, and what changed for everybody', () => {
    const wish = (query: Query, asking: Partial<Asking> = {}) =>
      wishOf(query, { minor: 96, admin: true, allFilters: true, ...asking });
    assert.equal(wish({ status: ['DELETED'] }).gone, 'only');
    assert.equal(wish({ status: ['DELETED', 'ACTIVE'] }).gone, null);
    assert.throws(() => wish({ status: ['deleted'] }, USER), { status: 403, message: /^Only administrators may list/ });
    assert.equal(wish({ deleted: 'true' }).gone, 'only');
    assert.equal(wish({ deleted: 'true' }, USER).gone, null);
    const [early, late] = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'];
    assert.equal(wish({ 'changes-before': early }, USER).gone, 'too');
    assert.equal(wish({ 'changes-since': early, deleted: 'false' }).gone, null);
    assert.equal(wish({ 'changes-since': early, 'changes-before': late }, USER).gone, 'too');
    assert.throws(() => wish({ 'changes-since': late, 'changes-before': early }), { status: 400 });
    assert.equal(wish({ soft_deleted: '1' }).softDeleted, true);
    assert.throws(() => wish({ metadata: '' }), { status: 400, message: 'Invalid filter field: metadata.' });
    assert.equal(wish({ metadata: '' }, USER).query.metadata, undefined, 'passed over');
  });

  it('refuse what is no boolean, and orders that tell where servers are', () => {
    const wish = (query: Query, asking: Partial<Asking> = {}) => wishOf(query, { ...USER, minor: 96, ...asking });
    assert.ok(wish({ all_tenants: '' }).allProjects && wish({ all_tenants: 'yes' }).allProjects);
    assert.ok(!wish({ all_tenants: '0' }).allProjects && !wish({}).allProjects);
    assert.throws(() => wish({ all_tenants: 'foo' }), { status: 400, message: /Unrecognized value 'foo'/ });
    assert.throws(() => matches({ locked: 'abc' }), { status: 400, message: /Unrecognized value 'abc'/ });
    assert.throws(() => wish({ sort_key: ['host'] }), { status: 403, message: /^Only administrators can sort/ });
    assert.deepEqual(wish({ sort_key: ['host'] }, { admin: true }).query.sort_key, ['host']);
    assert.throws(() => wish({ sort_key: ['vcpus'] }), { status: 400 });
    const { query } = wish({ sort_key: ['vcpus', 'uuid'], sort_dir: ['asc', 'asc'] }, { minor: 74 });
    assert.deepEqual([query.sort_key, query.sort_dir], [['uuid'], ['asc']]);
  });

  it('take escapes that Python takes and JavaScript does not', () => {
    assert.ok(safePattern(String.raw`^.*\-instance\-[0-9]+$`)?.test('tempest-instance-12'));
    assert.ok(safePattern(String.raw`a\_[\-b]\.c`)?.test('a_-.c'));
  });

  it('combine tags', () => {
    assert.ok(matches({ tags: 'x,y' }));
    assert.ok(!matches({ tags: 'x,z' }));
    assert.ok(matches({ 'tags-any': 'z,y' }));
    assert.ok(!matches({ 'not-tags-any': 'z,y' }));
    assert.ok(matches({ 'not-tags': 'x,z' }));
    assert.ok(!matches({ 'not-tags': 'x,y' }));
  });

  it('sort by any key, both ways', () => {
    const list = ['b', 'a', 'c'].map((name, index) => ({ ...base, id: name, name, createdAt: 3 - index }));
    const names = (query: Query) =>
      sorted(list, query)
        .map((each) => each.name)
        .join('');
    assert.equal(names({}), 'bac');
    assert.equal(names({ sort_key: ['display_name'], sort_dir: ['asc'] }), 'abc');
    assert.equal(names({ sort_key: ['display_name'] }), 'cba');
    assert.equal(names({ sort_key: ['host', 'created_at'], sort_dir: ['asc', 'asc'] }), 'cab');
  });
});

describe('filters by address', () => {
  const finds = (query: Query, address: string) => addressTest(query)?.(address);

  it('match from the beginning, as regular expressions', () => {
    assert.equal(addressTest({}), null);
    assert.equal(finds({ ip: '10.0.0.5' }, '10.0.0.5'), true);
    assert.equal(finds({ ip: '^10\\.0' }, '10.0.0.5'), true);
    assert.equal(finds({ ip: '10.0.[01].*' }, '10.0.1.9'), true);
    assert.equal(finds({ ip: '10.0.0.5$' }, '10.0.0.55'), false);
    assert.equal(finds({ ip: '0.0' }, '10.0.0.5'), false);
    assert.equal(finds({ ip: '(a+)+$' }, '10.0.0.5'), false);
  });

  it('look at addresses of their own kind, and either will do', () => {
    assert.equal(finds({ ip6: 'fd00:' }, 'fd00::5'), true);
    assert.equal(finds({ ip6: '10' }, '10.0.0.5'), false);
    assert.equal(finds({ ip: 'fd00' }, 'fd00::5'), false);
    assert.equal(finds({ ip: '10', ip6: 'fd00' }, 'fd00::5'), true);
  });
});
