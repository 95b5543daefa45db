// The gateway: connections to floating IPs come to the guests behind, wherever they are, and to nobody else's.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { type Client, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';
const N = '/network/v2.0';
const PORT = 2222;
const LIMIT_MS = 20_000;

/** A connection that the guest has greeted; null: it ended without a word, or there was none. */
async function greeted(address: string, port = PORT): Promise<{ socket: Socket; greeting: string } | null> {
  const socket = connect(port, address);
  const over = new AbortController();
  const said = once(socket, 'data', { signal: over.signal });
  said.catch(() => socket.destroy());
  socket.once('close', () => over.abort());
  try {
    const [chunk] = await said;
    return { socket, greeting: String(chunk).trim() };
  } catch {
    // Refused, ended, or destroyed: the gateway has no more to say to who may not come in.
    return null;
  }
}

/** Looks until it is so. */
async function until<T>(look: () => Promise<T>, good: (seen: T) => boolean): Promise<T> {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    const seen = await look();
    if (good(seen)) return seen;
    assert.ok(Date.now() < end, `still ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const closed = (socket: Socket): Promise<unknown> =>
  socket.closed ? Promise.resolve() : once(socket, 'close', { signal: AbortSignal.timeout(LIMIT_MS) });

async function serverWith(alice: Client, imageId: string, networkId: string) {
  const group = (await alice('POST', `${N}/security-groups`, { security_group: { name: 'ssh' } })).json.security_group;
  const networks = [{ uuid: networkId }];
  const wish = { name: 'one', imageRef: imageId, flavorRef: '1', networks, security_groups: [{ name: 'ssh' }] };
  const { id } = (await alice('POST', `${C}/servers`, { server: wish })).json.server;
  assert.equal(await waitFor(alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
  const port = (await alice('GET', `${N}/ports?device_id=${id}`)).json.ports[0];
  return { id: id as string, groupId: group.id as string, portId: port.id as string };
}

test('a floating IP leads to its guest through open doors, over a move, and no longer than it should', async () => {
  await using s = await testSystem({ hostsPerCell: 1, gatewayOn: `127.25.${randomInt(256)}.0/24` });
  const { id, groupId, portId } = await serverWith(s.alice, s.imageId, s.networkId);
  const publicId = (await s.alice('GET', `${N}/networks?router:external=true`)).json.networks[0].id;
  const floating = { floating_network_id: publicId, port_id: portId };
  const made = await s.alice('POST', `${N}/floatingips`, { floatingip: floating });
  assert.equal(made.status, 201, made.text);
  const { id: floatingId, floating_ip_address: address } = made.json.floatingip;
  const allow = async (remote: string | null, last = PORT): Promise<string> => {
    const rule = { security_group_id: groupId, direction: 'ingress', ethertype: 'IPv4', protocol: 'tcp' };
    const range = { port_range_min: PORT, port_range_max: last, remote_ip_prefix: remote };
    const answer = await s.alice('POST', `${N}/security-group-rules`, { security_group_rule: { ...rule, ...range } });
    assert.equal(answer.status, 201, answer.text);
    return answer.json.security_group_rule.id;
  };

  // No rule lets it in; then one for others alone; then one for everybody.
  assert.equal(await greeted(address), null);
  await allow('10.0.0.0/8');
  const ruleId = await allow(null);
  const first = await until(
    () => greeted(address),
    (seen) => seen !== null,
  );
  assert.equal(first?.greeting, `SSH-2.0-simulated-${id}`);
  first.socket.write('hello');
  const [echo] = await once(first.socket, 'data', { signal: AbortSignal.timeout(LIMIT_MS) });
  assert.equal(String(echo), 'hello');

  // The guest that it was made to is gone; the address leads to the one in the other cell.
  const before = (await s.admin('GET', `${C}/servers/${id}`)).json.server['OS-EXT-SRV-ATTR:host'];
  assert.equal((await s.alice('POST', `${C}/servers/${id}/action`, { resize: { flavorRef: '2' } })).status, 202);
  assert.equal(await waitFor(s.alice, id, ['VERIFY_RESIZE', 'ERROR']), 'VERIFY_RESIZE');
  await closed(first.socket);
  const after = (await s.admin('GET', `${C}/servers/${id}`)).json.server['OS-EXT-SRV-ATTR:host'];
  assert.notEqual(after, before);
  const second = await until(
    () => greeted(address),
    (seen) => seen !== null,
  );
  assert.equal(second?.greeting, `SSH-2.0-simulated-${id}`);

  // The rule for everybody goes: the door stays, and this machine may not pass.
  assert.equal((await s.alice('DELETE', `${N}/security-group-rules/${ruleId}`)).status, 204);
  assert.equal(await greeted(address), null);
  await allow(null);
  assert.ok(await greeted(address), 'the door was never closed');
  // One project's doors do not take all the places that there are.
  await allow(null, PORT + 2);
  await until(
    () => greeted(address, PORT + 2),
    (seen) => seen !== null,
  );
  const crowd = await Promise.all(Array.from({ length: 150 }, (_, index) => greeted(address, PORT + (index % 3))));
  const inside = crowd.filter((each) => each !== null).length;
  assert.ok(inside > 100 && inside <= 128, `${inside} of one project were let in`);
  // Nowhere to lead: whoever is in is sent away.
  const released = { floatingip: { port_id: null } };
  assert.equal((await s.alice('PUT', `${N}/floatingips/${floatingId}`, released)).status, 200);
  await closed(second.socket);
  assert.equal(await greeted(address), null);
});
