import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import {
  checkDescription,
  checkExtraSpecs,
  checkFlavorId,
  checkHostName,
  checkKeypairName,
  checkMetadata,
  checkName,
  checkZoneName,
  hostnameOf,
} from './names.ts';
import { SERVER_ID } from './test-samples.ts';

const NAME_TEXT =
  "An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with whitespace.";

describe('checkName', () => {
  it('takes 1 to 255 printable characters', () => {
    for (const name of ['a', 'web server 1', 'Ünïcödé', '日本語', 'a'.repeat(255), '../etc/passwd', '%s']) {
      assert.equal(checkName(name), null, name);
    }
  });

  it('refuses empty and long names with the length, in characters', () => {
    assert.deepEqual(checkName(''), {
      code: 400,
      message: "Invalid input for field/attribute name. Value: . '' is too short",
    });
    assert.match(checkName('a'.repeat(256))?.message ?? '', /is too long$/);
  });

  it('refuses blanks at the ends and what cannot be printed', () => {
    for (const name of [' a', 'a ', ' ', '\u00a0a', 'a\n', 'a\u0000b', 'a\u2028b', 'a\u202eb', '\ud800', 'a😀']) {
      assert.equal(checkName(name)?.message, NAME_TEXT, JSON.stringify(name));
    }
  });

  it('is total and never gives an unbounded message', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
        const refusal = checkName(text);
        assert.ok(refusal === null || refusal.message.length < 800);
      }),
    );
  });
});

describe('other names', () => {
  it('zones have no colon', () => {
    assert.equal(checkZoneName('zone 1'), null);
    assert.match(checkZoneName('zone:host')?.message ?? '', /except :/);
  });

  it('descriptions may be empty', () => {
    assert.equal(checkDescription(''), null);
    assert.equal(checkDescription('a'.repeat(255)), null);
    assert.match(checkDescription('a'.repeat(256))?.message ?? '', /too long/);
    assert.equal(checkDescription('a\u0007')?.code, 400);
  });

  it('flavor ids', () => {
    for (const id of ['1', 'm1.tiny', 'a b_c-d.e', SERVER_ID]) assert.equal(checkFlavorId(id), null, id);
    for (const id of ['', ' a', 'a ', 'a/b', 'é', 'a'.repeat(256)]) assert.equal(checkFlavorId(id)?.code, 400, id);
  });

  it('key pair names get @ and dot from 2.92', () => {
    assert.equal(checkKeypairName('my key-1_x', 1), null);
    assert.equal(checkKeypairName('me@host.org', 91)?.code, 400);
    assert.equal(checkKeypairName('me@host.org', 92), null);
    assert.equal(checkKeypairName('a/b', 96)?.code, 400);
    assert.equal(checkKeypairName(' a', 96)?.message, NAME_TEXT);
  });

  it('host names', () => {
    assert.equal(checkHostName('cell2-host_1.example.org'), null);
    for (const name of ['', 'a b', 'a/b', 'a;b', 'a'.repeat(256)]) assert.equal(checkHostName(name)?.code, 400, name);
  });

  it('metadata and extra specs: keys by pattern, values up to 255 characters', () => {
    assert.equal(checkMetadata({ 'a:b-c_d.e f': 'x'.repeat(255), k: '' }), null);
    assert.match(
      checkMetadata({ 'a/b': 'x' })?.message ?? '',
      /field\/attribute metadata\. Value: a\/b\. 'a\/b' does not match/,
    );
    assert.match(checkMetadata({ k: 'x'.repeat(256) })?.message ?? '', /field\/attribute k\..* is too long$/);
    assert.equal(checkMetadata({ ['k'.repeat(256)]: 'x' })?.code, 400);
    assert.equal(checkMetadata({ '': 'x' })?.code, 400);
    assert.equal(checkExtraSpecs({ 'hw:cpu_policy': 'dedicated' }), null);
    assert.equal(checkExtraSpecs({ hw$x: 'y' })?.code, 400);
  });
});

describe('hostnameOf', () => {
  it("follows Nova's sanitize_hostname", () => {
    const cases: readonly (readonly [string, string])[] = [
      ['My Server_1.example', 'my-server-1-example'],
      ['--a--', 'a'],
      ['a!b@c', 'abc'],
      ['日本', `Server-${SERVER_ID}`],
      ['日本-web', 'web'],
      ['a'.repeat(70), 'a'.repeat(63)],
      ['...', `Server-${SERVER_ID}`],
    ];
    for (const [name, expected] of cases) assert.equal(hostnameOf(name, SERVER_ID), expected);
  });

  it('is never empty, never longer than 63 where it comes from the name, and safe', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        const hostname = hostnameOf(name, SERVER_ID);
        assert.ok(hostname.length > 0);
        if (hostname.startsWith('Server-')) return;
        assert.ok(hostname.length <= 63);
        assert.match(hostname, /^[\p{L}\p{N}-]+$/u);
        assert.doesNotMatch(hostname, /^-|-$/);
      }),
    );
  });
});
