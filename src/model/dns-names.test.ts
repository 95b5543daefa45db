import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { wrongDnsName, wrongDomain, wrongRelativeName } from './dns-names.ts';

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
const top = fc.stringMatching(/^[a-z][a-z0-9]{0,10}$/);

test('labels joined by dots are a name, and with a dot behind them a domain', () => {
  fc.assert(
    fc.property(fc.array(label, { maxLength: 5 }), top, (labels, last) => {
      const name = [...labels, last].join('.');
      assert.equal(wrongDnsName(name), null);
      assert.equal(wrongRelativeName(name), null);
      assert.equal(wrongDomain(`${name}.`), null);
      assert.equal(wrongRelativeName(`${name}.`), `'${name}.' is a FQDN. It should be a relative domain name`);
      assert.equal(wrongDomain(name), `'${name}' is not a FQDN`);
    }),
  );
});

test('what is no name is told by its label, in the words of Neutron', () => {
  const said = (name: string, reason: string) =>
    assert.equal(wrongDnsName(name), `'${name}' not a valid PQDN or FQDN. Reason: ${reason}`);
  said('a..b', 'Encountered an empty component');
  said('.', 'Encountered an empty component');
  said('-a.b', "Name '-a' must not start or end with a hyphen");
  said('a_b.c', "Name 'a_b' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen");
  said('a\n', "Name 'a\n' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen");
  said('a.12', "TLD '12' must not be all numeric");
  const long = `${'abcdefg.'.repeat(31)}abcdef.`;
  assert.match(wrongDomain(long) ?? '', /contains 255 characters. Adding a sub-domain will cause/);
  assert.match(wrongRelativeName(long.slice(0, -2)) ?? '', /contains 253 characters. Adding a domain name will cause/);
  assert.equal(wrongDomain(''), null);
  assert.equal(wrongRelativeName(''), null);
});
