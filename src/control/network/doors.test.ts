import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Door, doorsOf, letsIn, MAX_DOORS, type Rule } from './doors.ts';

const rule = (
  port_min: number | null,
  port_max: number | null,
  remote_prefix: string | null,
  ip = '172.24.4.5',
): Rule => ({
  ...{ ip, device_id: 'server', id: 'port', project_id: 'project', host: 'east-1' },
  ...{ port_min, port_max, remote_prefix },
});
const numbers = (doors: readonly Door[]): number[] => doors.map(({ tcpPort }) => tcpPort);

test('each port that a rule names is a door, for all whom one of its rules lets in', () => {
  const rules = [
    rule(22, 22, '10.0.0.0/8'),
    rule(22, 23, '192.0.2.7'),
    rule(443, 443, null),
    rule(443, 443, '10.0.0.0/8'),
  ];
  const doors = doorsOf(rules);
  assert.deepEqual(
    doors.map(({ tcpPort, from }) => [tcpPort, from]),
    [
      [22, ['10.0.0.0/8', '192.0.2.7']],
      [23, ['192.0.2.7']],
      [443, null],
    ],
  );
  const [ssh, telnet, web] = doors;
  assert.ok(ssh && telnet && web);
  const asked = (door: Door) => ['10.1.2.3', '192.0.2.7', '192.0.2.8'].map((remote) => letsIn(door, remote));
  assert.deepEqual(asked(ssh), [true, true, false]);
  assert.deepEqual(asked(telnet), [false, true, false]);
  assert.deepEqual(asked(web), [true, true, true]);
  assert.ok(letsIn({ ...ssh, from: ['0.0.0.0/0'] }, '203.0.113.1'));
});

test('a floating IP has so many doors and no more, and takes none from another', () => {
  const doors = doorsOf([rule(1000, 65_535, null), rule(2000, 2000, null), rule(22, 22, null, '172.24.4.6')]);
  const first = doors.filter(({ address }) => address === '172.24.4.5');
  assert.deepEqual(
    numbers(first),
    Array.from({ length: MAX_DOORS }, (_, index) => 1000 + index),
  );
  assert.deepEqual(numbers(doors.slice(first.length)), [22]);
  assert.deepEqual(numbers(doorsOf([rule(0, 1, null), rule(null, null, null)])), [1]);
});
