import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { configDriveFiles, configDriveImage, configDriveOf, type DriveFacts, netmaskOf } from './config-drive.ts';
import { readIso } from './test-iso.ts';

const facts: DriveFacts = {
  serverId: '11111111-2222-3333-4444-555555555555',
  name: 'web 1',
  hostname: 'web-1',
  projectId: 'p1',
  zone: 'nova',
  metadata: { role: 'web' },
  key: { name: 'kp', publicKey: 'ssh-ed25519 AAAA x' },
  ports: [
    {
      id: 'aaaaaaaa-0000-0000-0000-000000000001',
      ...{ mac: 'fa:16:3e:00:00:01', ip: '10.42.0.9', cidr: '10.42.0.0/23', gateway: '10.42.0.1' },
      ...{ networkId: 'n1', tag: 'front' },
    },
  ],
  volumes: [
    { volumeId: '22222222-3333-4444-5555-666666666666', device: '/dev/vdb', tag: 'db' },
    { volumeId: '22222222-3333-4444-5555-777777777777', device: '/dev/vdc', tag: null },
  ],
};

describe('a config drive', () => {
  it('has the files that cloud-init looks for, with the words of OpenStack', () => {
    const userData = Buffer.from('#cloud-config\n').toString('base64');
    const image = configDriveImage(configDriveFiles(configDriveOf(facts), userData));
    const { label, files } = readIso(image, 'joliet');
    assert.equal(label, 'config-2');
    assert.deepEqual(
      [...files.keys()].toSorted(),
      ['meta_data.json', 'network_data.json', 'user_data', 'vendor_data.json'].map(
        (name) => `openstack/latest/${name}`,
      ),
    );
    const json = (name: string) => JSON.parse(files.get(`openstack/latest/${name}`)?.toString() ?? '');
    const meta = json('meta_data.json');
    assert.equal(meta.uuid, facts.serverId);
    assert.equal(meta.hostname, 'web-1');
    assert.deepEqual(meta.public_keys, { kp: 'ssh-ed25519 AAAA x' });
    assert.deepEqual(meta.meta, { role: 'web' });
    assert.deepEqual(meta.devices, [
      { type: 'nic', bus: 'none', address: 'none', mac: 'fa:16:3e:00:00:01', tags: ['front'] },
      {
        ...{ type: 'disk', bus: 'none', address: 'none', serial: '22222222-3333-4444-5' },
        ...{ path: '/dev/vdb', tags: ['db'] },
      },
    ]);
    const [network] = json('network_data.json').networks;
    assert.deepEqual(
      [network.ip_address, network.netmask, network.routes[0].gateway, network.link],
      ['10.42.0.9', '255.255.254.0', '10.42.0.1', 'tapaaaaaaaa-00'],
    );
    assert.deepEqual(json('vendor_data.json'), {});
    assert.equal(files.get('openstack/latest/user_data')?.toString(), '#cloud-config\n');
  });

  it('is the same bytes for the same record', () => {
    const make = () => configDriveImage(configDriveFiles(configDriveOf(facts), null));
    assert.deepEqual(make(), make());
  });

  it('leaves out what there is not', () => {
    const { metaData } = configDriveOf({ ...facts, key: null, metadata: {}, ports: [] });
    assert.ok(!('public_keys' in metaData) && !('meta' in metaData));
    assert.equal(configDriveFiles(configDriveOf(facts), null).length, 3);
  });

  it('knows netmasks', () => {
    assert.deepEqual(['a/0', 'a/8', 'a/24', 'a/29', 'a/32'].map(netmaskOf), [
      '0.0.0.0',
      '255.0.0.0',
      '255.255.255.0',
      '255.255.255.248',
      '255.255.255.255',
    ]);
  });
});
