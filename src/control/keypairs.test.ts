import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { type ImageWorld, imageWorld } from './images/testing.ts';
import { createKeypair, deleteKeypair, findKeypair, fingerprintOf, listKeypairs } from './keypairs.ts';

const owner = { userId: 'u1', projectId: 'p1' };
// A key made for this test; its fingerprint is what `ssh-keygen -l -E md5` says.
const ED25519 = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here';

describe('key pairs', () => {
  let world: ImageWorld;
  before(async () => {
    world = await imageWorld({ quota: { key_pairs: 3 } });
  });
  after(() => world[Symbol.asyncDispose]());

  it('are imported with their MD5 fingerprint', async () => {
    const result = await createKeypair(world.p, owner, { name: 'mine', publicKey: ED25519 }, 2);
    assert.ok(result.kind === 'ok');
    assert.equal(result.privateKey, null);
    assert.match(result.keypair.fingerprint, /^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
    assert.equal((await findKeypair(world.p, 'u1', 'mine'))?.publicKey, ED25519);
    assert.equal(await findKeypair(world.p, 'u2', 'mine'), null);
  });

  it('are generated as an RSA pair whose halves belong together', async () => {
    const result = await createKeypair(world.p, owner, { name: 'made', publicKey: null }, 2);
    assert.ok(result.kind === 'ok' && result.privateKey !== null);
    const jwk = createPublicKey(createPrivateKey(result.privateKey)).export({ format: 'jwk' });
    const blob = Buffer.from(result.keypair.publicKey.split(' ')[1] ?? '', 'base64');
    assert.ok(blob.includes(Buffer.from(jwk.n ?? '', 'base64url')));
    assert.equal(fingerprintOf(result.keypair.publicKey), result.keypair.fingerprint);
  });

  it('are made for one user a few at a time, and for one who may have no more not at all', async () => {
    const busy = { userId: 'u9', projectId: 'p1' };
    const made = await Promise.all(
      ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => createKeypair(world.p, busy, { name, publicKey: null }, 2)),
    );
    const codes = made.map((each) => (each.kind === 'ok' ? 200 : each.refusal.code));
    assert.deepEqual(codes.toSorted(), [200, 200, 200, 403, 503, 503]);
    const again = await Promise.all(
      ['g', 'h', 'i', 'j', 'k', 'l'].map((name) => createKeypair(world.p, busy, { name, publicKey: null }, 2)),
    );
    assert.ok(again.every((each) => each.kind === 'refused' && each.refusal.code === 403));
  });

  it('refuse bad names, bad keys, duplicates and too many', async () => {
    const code = async (name: string, publicKey: string | null, minor = 2) => {
      const result = await createKeypair(world.p, owner, { name, publicKey }, minor);
      return result.kind === 'ok' ? 200 : result.refusal.code;
    };
    assert.equal(await code('mine', ED25519), 409);
    assert.equal(await code('a@b', ED25519), 400);
    assert.equal(await code('../x', ED25519), 400);
    for (const bad of [
      '',
      'ssh-ed25519',
      'ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==',
      'ssh-ed25519 !!!',
      `${ED25519}\nssh-rsa x`,
    ]) {
      assert.equal(await code('bad', bad), 400, bad);
    }
    assert.equal(await code('third@host', ED25519, 92), 200);
    assert.equal(await code('fourth', ED25519), 403);
    assert.deepEqual(
      (await listKeypairs(world.p, 'u1')).map((each) => each.name),
      ['made', 'mine', 'third@host'],
    );
  });

  it('are deleted once', async () => {
    assert.equal(await deleteKeypair(world.p, 'u2', 'mine'), false);
    assert.equal(await deleteKeypair(world.p, 'u1', 'mine'), true);
    assert.equal(await deleteKeypair(world.p, 'u1', 'mine'), false);
  });
});
