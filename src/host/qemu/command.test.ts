import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fc } from '../../lib/property-testing.ts';
import { IMAGE, ROOT, SERVER, SPEC } from '../test-support.ts';
import { type CommandFacts, qemuArguments } from './command.ts';
import { convertArguments } from './copy.ts';
import { portAddresses } from './port-addresses.ts';

const facts: CommandFacts = {
  serverId: SERVER,
  spec: SPEC,
  accelerator: 'tcg',
  diskPath: '/s/disk.qcow2',
  imagePath: '/s/base.qcow2',
  configDrivePath: '/s/config-drive.iso',
  pidFile: '/s/qemu.pid',
  rescue: null,
  fromMemory: false,
  volumeArguments: [],
};

/** The value after an option. */
function option(args: readonly string[], name: string): string {
  return args[args.indexOf(name) + 1] ?? '';
}

describe('QEMU command line', () => {
  test('gives the guest what its specification says', () => {
    const args = qemuArguments({ ...facts, spec: { ...SPEC, vcpus: 3, memoryMb: 700 } });
    assert.equal(option(args, '-smp'), '3');
    assert.equal(option(args, '-m'), '700M');
    assert.equal(option(args, '-uuid'), SERVER);
    const port = SPEC.ports[0]?.id;
    const network = 'restrict=on,ipv6=off,net=10.0.0.0/24,host=10.0.0.1,dhcpstart=10.0.0.5,dns=10.0.0.254';
    assert.equal(option(args, '-netdev'), `user,id=net-${port},${network}`);
    const card = `virtio-net-pci,id=nic0-${port},bus=nic-port-0,netdev=net-${port},mac=52:54:00:00:00:01`;
    assert.ok(args.includes(card));
  });

  test('boots from the rescue disk, before the own one or behind all other devices', () => {
    const disk = { diskPath: '/s/spare.qcow2', imagePath: '/s/rescue.raw', format: 'raw' } as const;
    const devices = (last: boolean) =>
      qemuArguments({ ...facts, rescue: { ...disk, last } })
        .filter((argument, index, all) => all[index - 1] === '-device' && /pci/.test(argument))
        .map((argument) => /id=([a-z]+),drive.*bootindex=\d/.exec(argument)?.slice(0, 2) ?? argument);
    const ids = (last: boolean) => devices(last).map((each) => (Array.isArray(each) ? each[1] : 'other'));
    assert.deepEqual(ids(false).slice(0, 2), ['rescue', 'root']);
    assert.deepEqual([ids(true)[0], ids(true).at(-1)], ['root', 'rescue']);
    const args = qemuArguments({ ...facts, rescue: { ...disk, last: true } });
    assert.ok(args.some((argument) => /id=rescue,.*bootindex=0$/.test(argument)));
    assert.ok(args.some((argument) => argument.includes('"rescue-base"') && argument.includes('/s/rescue.raw')));
  });

  test('gives QEMU no more than it needs', () => {
    const args = qemuArguments(facts);
    for (const wanted of ['-nodefaults', '-no-user-config']) assert.ok(args.includes(wanted));
    const sandbox = option(args, '-sandbox');
    for (const part of ['on', 'obsolete=deny', 'elevateprivileges=deny', 'spawn=deny', 'resourcecontrol=deny'])
      assert.ok(sandbox.split(',').includes(part), part);
    assert.equal(args.filter((argument) => argument === '-mon').length, 1);
    assert.ok(!args.some((argument) => /tcp:|-monitor/.test(argument)));
    // Whoever may enter the guest's directory is asked for no password.
    assert.equal(option(args, '-vnc'), 'unix:vnc.sock');
    assert.ok(
      args.filter((argument) => argument.startsWith('socket,')).every((each) => /,path=[a-z]+[.]sock,/.test(each)),
    );
  });

  test('a config drive is a CD that nobody writes', () => {
    const configDrive = [{ path: 'openstack/latest/meta_data.json', content: '' }];
    const args = qemuArguments({ ...facts, spec: { ...SPEC, configDrive } });
    const disk = JSON.parse(args.find((argument) => argument.includes('"config-drive"')) ?? '');
    assert.ok(args.includes('scsi-cd,id=config,bus=config-bus.0,drive=config-drive'));
    assert.ok(
      args.indexOf('virtio-scsi-pci,id=config-bus') > 0,
      'the bus is one that every guest of ours has a driver of',
    );
    assert.deepEqual([disk.driver, disk['read-only'], disk.file['read-only']], ['raw', true, true]);
    assert.equal(disk.file.filename, facts.configDrivePath);
    assert.ok(!qemuArguments(facts).some((argument) => argument.includes('config-drive')));
  });

  test('names base and formats itself', () => {
    const disk = JSON.parse(option(qemuArguments(facts), '-blockdev'));
    assert.equal(disk.driver, 'qcow2');
    assert.equal(disk.backing.file.filename, '/s/base.qcow2');
    assert.deepEqual([disk.backing.driver, disk.backing['read-only'], disk.backing.backing], ['qcow2', true, null]);
    const raw = { ...SPEC, root: { ...ROOT, image: { ...IMAGE, format: 'raw' as const } } };
    const other = JSON.parse(option(qemuArguments({ ...facts, spec: raw }), '-blockdev'));
    assert.equal(other.backing.driver, 'raw');
    assert.ok(!('backing' in other.backing));
  });

  test('property: a name never reaches the command line', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 4, unit: 'grapheme' }), (name) => {
        const plain = qemuArguments(facts);
        assert.deepEqual(qemuArguments({ ...facts, spec: { ...SPEC, name } }), plain);
      }),
    );
  });

  test('addresses that do not fit together are refused', () => {
    const port = { ip: '10.0.0.5', cidr: '10.0.0.0/24', gateway: '10.0.0.1' };
    const wrong = [
      { ...port, ip: '10.0.1.5' },
      { ...port, ip: '10.0.0.0' },
      { ...port, ip: '10.0.0.255' },
      { ...port, ip: '10.0.0.1' },
      { ...port, ip: '10.0.0.5,hostfwd=tcp::22-:22' },
      { ...port, gateway: '10.0.0.300' },
      { ...port, cidr: '10.0.0.0/31' },
      { ...port, cidr: '10.0.0.0/99' },
      { ...port, cidr: '10.0.0/24' },
    ];
    for (const addresses of wrong) assert.throws(() => portAddresses(addresses), { name: 'HypervisorError' });
  });

  test('property: the name server is in the subnet and nobody else', () => {
    const inputs = fc.record({ prefix: fc.integer({ min: 8, max: 29 }), a: fc.nat(), b: fc.nat() });
    fc.assert(
      fc.property(inputs, ({ prefix, a, b }) => {
        const size = 2 ** (32 - prefix);
        const base = 10 * 2 ** 24;
        const host = (n: number) => base + 1 + (n % (size - 2));
        fc.pre(host(a) !== host(b));
        const text = (n: number) => [24, 16, 8, 0].map((shift) => Math.floor(n / 2 ** shift) % 256).join('.');
        const { dns, ip, gateway } = portAddresses({
          ip: text(host(a)),
          gateway: text(host(b)),
          cidr: `10.0.0.0/${prefix}`,
        });
        assert.notEqual(dns, ip);
        assert.notEqual(dns, gateway);
        const number = dns.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
        assert.ok(number > base && number < base + size - 1);
      }),
    );
  });
});

test('a copy is limited only when told so', () => {
  const source = { host: '10.0.0.9', port: 10809, name: 'ab'.repeat(16), sizeBytes: 1, allocatedBytes: 1 };
  assert.ok(!convertArguments(source, '/t', null).includes('-r'));
  const limited = convertArguments(source, '/t', 1000);
  assert.equal(option(limited, '-r'), '1000');
  assert.match(limited.at(-2) ?? '', /file\.server\.host=10\.0\.0\.9,file\.server\.port=10809,file\.export=(ab){16}/);
});
