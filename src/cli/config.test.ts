import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { ConfigError, parseConfig } from './config.ts';
import { DEFAULTS, parseListen, planDeployment } from './deployment.ts';

const complaint = (text: string): string => {
  try {
    parseConfig(text, 'c.yaml');
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail('it was accepted');
};

test('proxies that are trusted are addresses and networks; without any, those of this machine', () => {
  const trusted = (text: string) => planDeployment(parseConfig(text, 'c.yaml'), {}).settings.trustedProxies;
  assert.ok(trusted('').has('127.0.0.1') && trusted('').has('::1') && !trusted('').has('10.0.0.5'));
  const given = trusted('trusted_proxies: [10.0.0.5, "fd00::/8"]');
  assert.ok(given.has('10.0.0.5') && given.has('fd00::1') && !given.has('127.0.0.1'));
  assert.ok(!trusted('trusted_proxies: []').has('127.0.0.1'));
  assert.match(complaint('trusted_proxies: [proxy.example.org]\n'), /^c\.yaml:1: trusted_proxies\.0 /);
  assert.throws(() => trusted('trusted_proxies: [10.0.0.0/33]'), ConfigError);
});

test('an empty file is a configuration', () => {
  assert.deepEqual(parseConfig('', 'c.yaml'), {});
  assert.deepEqual(parseConfig('# nothing\n', 'c.yaml'), {});
});

test('an unknown key is refused with its line, at any depth', () => {
  assert.equal(complaint('listen: 127.0.0.1:1\nlisten_to: x\n'), "c.yaml:2: unknown key 'listen_to'");
  assert.equal(
    complaint('cells:\n  - name: a\n    hosts:\n      - name: h\n        ram: 3\n'),
    "c.yaml:5: unknown key 'cells.0.hosts.0.ram'",
  );
});

test('a wrong value is refused with its line', () => {
  assert.match(
    complaint('data: x\nshutdown_timeout_seconds: soon\n'),
    /^c\.yaml:2: shutdown_timeout_seconds must be integer/,
  );
  assert.match(complaint('hypervisor: xen\n'), /^c\.yaml:1: hypervisor /);
  assert.match(complaint('cells: []\n'), /^c\.yaml:1: cells /);
});

test('broken YAML, double keys and aliases that explode are refused', () => {
  assert.match(complaint('a: [1\n'), /^c\.yaml:\d+: /);
  assert.match(complaint('data: a\ndata: b\n'), /^c\.yaml:2: Map keys must be unique/);
  assert.match(complaint('a: &a [1, 1]\nb: [*a, *a]\n'), /^c\.yaml: /);
});

test('no text makes it throw anything but a ConfigError', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.json(), fc.string({ unit: fc.constantFrom('a', ':', ' ', '\n', '-', '[', '&', '*') })),
      (text) => {
        try {
          parseConfig(text, 'c.yaml');
        } catch (error) {
          assert.ok(error instanceof ConfigError, String(error));
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('the command line wins over the file, the file over the defaults', () => {
  const file = parseConfig('listen: 10.0.0.1:80\nshutdown_timeout_seconds: 5\n', 'c.yaml');
  const plan = planDeployment(file, { listen: '127.0.0.1:99' });
  assert.deepEqual(plan.listen, { host: '127.0.0.1', port: 99 });
  assert.equal(plan.settings.shutdownTimeoutSeconds, 5);
  assert.equal(plan.hypervisor, DEFAULTS.hypervisor);
  assert.deepEqual(plan.cells, ['cell1', 'cell2']);
  assert.deepEqual(
    plan.hosts.map((host) => host.name),
    ['cell1-host1', 'cell1-host2', 'cell2-host1', 'cell2-host2'],
  );
});

test('what contradicts itself is refused', () => {
  const twice = parseConfig('cells:\n  - {name: a, hosts: [{name: h}]}\n  - {name: b, hosts: [{name: h}]}\n', 'c.yaml');
  assert.throws(() => planDeployment(twice, {}), /two hosts are called 'h'/);
  const own = parseConfig('cells: [{name: a, hosts: []}]\n', 'c.yaml');
  assert.throws(() => planDeployment(own, { cells: 3 }), ConfigError);
});

test('a real Keystone has users of its own', () => {
  const openstack =
    'openstack: {auth_url: "http://k/v3/", username: u, password_file: /p, region: R, services: [identity]}\n';
  const plan = planDeployment(parseConfig(openstack, 'c.yaml'), {}).openstack;
  assert.deepEqual(
    [plan?.authUrl, plan?.region, plan?.projectName, plan?.timeoutMs],
    ['http://k/v3', 'R', 'service', 10_000],
  );
  const alone = parseConfig(openstack.replace('identity', 'image'), 'c.yaml');
  assert.throws(() => planDeployment(alone, {}), /image needs identity too/);
  const cidr = parseConfig(
    `${openstack.replace('[identity]', '[identity, network]')}network: {cidr: 10.0.0.0/8}\n`,
    'c.yaml',
  );
  assert.throws(() => planDeployment(cidr, {}), /network does not go with/);
  const both = parseConfig(`${openstack}identity: {users: []}\n`, 'c.yaml');
  assert.throws(() => planDeployment(both, {}), /identity does not go with openstack.services: identity/);
  const password = parseConfig(openstack, 'c.yaml');
  assert.throws(() => planDeployment(password, { adminPassword: 'x' }), /--admin-password does not go/);
  assert.throws(() => parseConfig('openstack: {username: u}\n', 'c.yaml'), /auth_url/);
});

test('a real Cinder has the volumes, and hosts say where its shares are', () => {
  const openstack =
    'openstack: {auth_url: "http://k/v3", username: u, password_file: /p, services: [identity, volume]}\n';
  const shares = 'cells: [{name: a, hosts: [{name: h, shares: {"10.0.0.5:/volumes": /mnt/volumes}}]}]\n';
  const plan = planDeployment(parseConfig(`${openstack}${shares}`, 'c.yaml'), {});
  assert.deepEqual([plan.storageHosts, plan.hosts[0]?.shares], [[], { '10.0.0.5:/volumes': '/mnt/volumes' }]);
  const own = parseConfig(`${openstack}storage_hosts: [{name: s}]\n`, 'c.yaml');
  assert.throws(() => planDeployment(own, {}), /storage_hosts does not go with openstack.services: volume/);
  assert.throws(() => parseConfig(shares.replace('/mnt', 'mnt'), 'c.yaml'), ConfigError);
});

test('HOST:PORT', () => {
  assert.deepEqual(parseListen('[::1]:8774'), { host: '::1', port: 8774 });
  for (const bad of ['', 'x', 'x:', ':1', 'x:65536', '::1:80', 'x:1:2'])
    assert.throws(() => parseListen(bad), ConfigError);
});

test('consoles are shown in the frames of the dashboards that are named, and no text gets into the header otherwise', () => {
  const ancestors = (text: string) => planDeployment(parseConfig(text, 'c.yaml'), {}).settings.consoleFrameAncestors;
  assert.deepEqual(ancestors(''), []);
  const dashboard = 'https://dashboard.example.org:8443';
  assert.deepEqual(ancestors(`console_frame_ancestors: ["${dashboard}"]`), [dashboard]);
  for (const bad of ['*', 'https:', "https://a.example; script-src 'unsafe-inline'", 'https://a.example/path'])
    assert.throws(() => ancestors(`console_frame_ancestors: ["${bad}"]`), ConfigError, bad);
});

test('databases: files, one URL and what follows from it, or URLs of their own', () => {
  const databases = (yaml: string, database?: string) =>
    planDeployment(parseConfig(yaml, 'c.yaml'), database === undefined ? {} : { database }).databases;
  assert.equal(databases('').kind, 'sqlite');
  const cells = (at: ReturnType<typeof databases>, ...names: string[]) => {
    assert(at.kind === 'postgres');
    return [at.global, ...names.map((name) => at.cell(name))];
  };
  assert.deepEqual(cells(databases('', 'postgresql://u:p%40@h:1/x?sslmode=require'), 'c1', '$&'), [
    'postgresql://u:p%40@h:1/x?sslmode=require',
    'postgresql://u:p%40@h:1/x_c1?sslmode=require',
    'postgresql://u:p%40@h:1/x_$&?sslmode=require',
  ]);
  assert.deepEqual(
    cells(
      databases(
        'database: {url: "postgres://h/x", cell_url: "postgres://c/cells-{cell}"}\ncells: [{name: a, hosts: []}, {name: b, database: "postgres://b/b", hosts: []}]\n',
      ),
      'a',
      'b',
    ),
    ['postgres://h/x', 'postgres://c/cells-a', 'postgres://b/b'],
  );
  for (const bad of ['mysql://h/x', 'postgresql://h', 'postgresql://h/', 'x'])
    assert.throws(() => databases('', bad), ConfigError, bad);
  assert.throws(() => databases('database: {url: "postgres://h/x", cell_url: "postgres://c/y"}\n'), ConfigError);
  assert.throws(() => databases('cells: [{name: b, database: "postgres://b/b", hosts: []}]\n'), ConfigError);
});
