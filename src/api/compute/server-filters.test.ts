import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../../lib/property-testing.ts';
import { POWER_STATE, type Server } from '../../model/types.ts';
import { addressTest, type Query, safePattern, serverTest, sorted } from './server-filters.ts';

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
const matches = (query: Query, server: Partial<Server> = {}, admin = false): boolean =>
  serverTest(query, admin)({ ...base, ...server });

describe('filters of server lists', () => {
  it('take names as regular expressions', () => {
    assert.ok(matches({ name: 'web' }));
    assert.ok(matches({ name: '^web-[0-9]+$' }));
    assert.ok(!matches({ name: '^b' }));
    assert.ok(!matches({ name: '[' }), 'not an expression: compared as text');
    assert.ok(matches({ name: '[' }, { name: 'odd[name' }));
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
    assert.ok(!matches({ status: ['NONSENSE'] }));
  });

  it('leave the administrators their own', () => {
    assert.ok(matches({ host: 'other' }), 'a user cannot find out the host');
    assert.ok(!matches({ host: 'other' }, {}, true));
    assert.ok(matches({ host: 'h1' }, {}, true));
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
