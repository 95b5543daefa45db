import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Port } from '../../control/network.ts';
import { renderAddresses } from './server-view.ts';

const port = (id: string, networkName: string, ip: string) =>
  ({ id, networkName, mac: 'fa:16:3e:00:00:01', fixedIps: [{ ip }] }) as unknown as Port;

test('addresses stand under the names of their networks, whatever those are', () => {
  const ports = [port('a', 'constructor', '10.0.0.4'), port('b', 'own', '10.0.1.4'), port('c', 'own', 'fd00::5')];
  const floating = { portId: 'b', fixedIp: '10.0.1.4', ip: '203.0.113.7' } as Parameters<typeof renderAddresses>[1][0];
  assert.deepEqual(renderAddresses(ports, [floating], false), {
    constructor: [{ version: 4, addr: '10.0.0.4' }],
    own: [
      { version: 4, addr: '10.0.1.4' },
      { version: 4, addr: '203.0.113.7' },
      { version: 6, addr: 'fd00::5' },
    ],
  });
  assert.deepEqual(renderAddresses(ports.slice(0, 1), [], true)['constructor'], [
    { version: 4, addr: '10.0.0.4', 'OS-EXT-IPS:type': 'fixed', 'OS-EXT-IPS-MAC:mac_addr': 'fa:16:3e:00:00:01' },
  ]);
});
