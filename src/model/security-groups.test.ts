import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { firstRules, type Rule, type RuleWish, ruleKey, ruleOf } from './security-groups.ts';

const wish = (part: Partial<RuleWish>): RuleWish => ({ direction: 'ingress', ...part });

function kept(part: Partial<RuleWish>): Rule {
  const rule = ruleOf(wish(part));
  assert.ok(!('code' in rule), JSON.stringify(rule));
  return rule;
}

describe('a security group rule', () => {
  it('is kept in one form', () => {
    assert.deepEqual(kept({}), {
      ...{ direction: 'ingress', ethertype: 'IPv4', protocol: null, portMin: null, portMax: null },
      ...{ remotePrefix: null, remoteGroupId: null },
    });
    assert.equal(kept({ protocol: 'TCP' }).protocol, 'tcp');
    assert.equal(kept({ protocol: 'any' }).protocol, null);
    assert.equal(kept({ protocol: 17 }).protocol, '17');
    assert.equal(kept({ ethertype: 'ipv6', protocol: 'icmp' }).protocol, 'ipv6-icmp');
    assert.equal(kept({ ethertype: 'IPv6', protocol: 1 }).protocol, '58');
    assert.equal(kept({ remotePrefix: '10.0.0.1' }).remotePrefix, '10.0.0.1/32');
    assert.equal(kept({ ethertype: 'IPv6', remotePrefix: '2001:DB8::/32' }).remotePrefix, '2001:db8::/32');
    const { portMin, portMax } = kept({ protocol: 'udp', portMin: 1, portMax: 65_535 });
    assert.deepEqual([portMin, portMax], [null, null]);
    assert.equal(kept({ protocol: 'icmp', portMin: 0, portMax: 0 }).portMax, 0);
  });

  it('is refused with the name of the exception that Neutron would raise', () => {
    const cases: readonly [Partial<RuleWish>, string][] = [
      [{ ethertype: 'bad' }, 'SecurityGroupRuleInvalidEtherType'],
      [{ protocol: 'bad_protocol_name' }, 'SecurityGroupRuleInvalidProtocol'],
      [{ protocol: 256 }, 'SecurityGroupRuleInvalidProtocol'],
      [{ portMin: 80, portMax: 80 }, 'SecurityGroupProtocolRequiredWithPorts'],
      [{ protocol: 'tcp', portMin: 80 }, 'SecurityGroupInvalidPortRange'],
      [{ protocol: 'tcp', portMin: 80, portMax: 79 }, 'SecurityGroupInvalidPortRange'],
      [{ protocol: 'tcp', portMin: -16_384, portMax: 80 }, 'SecurityGroupInvalidPortValue'],
      [{ protocol: '6', portMin: 80, portMax: 65_536 }, 'SecurityGroupInvalidPortValue'],
      [{ protocol: 'tcp', portMin: 0, portMax: 80 }, 'SecurityGroupInvalidPortValue'],
      [{ protocol: 'gre', portMin: 1, portMax: 2 }, 'SecurityGroupInvalidProtocolForPort'],
      [{ protocol: 'icmp', portMin: 256 }, 'SecurityGroupInvalidIcmpValue'],
      [{ protocol: 'icmp', portMin: 1, portMax: 300 }, 'SecurityGroupInvalidIcmpValue'],
      [{ protocol: 'icmp', portMax: 2 }, 'SecurityGroupMissingIcmpType'],
      [{ protocol: 'ipv6-icmp' }, 'SecurityGroupEthertypeConflictWithProtocol'],
      [{ remotePrefix: '92.168.1./24' }, 'InvalidCIDR'],
      [{ remotePrefix: '192.168.1.1/33' }, 'InvalidCIDR'],
      [{ remotePrefix: 'fe80::1%eth0' }, 'InvalidCIDR'],
      [{ remotePrefix: '2001:db8::/32' }, 'SecurityGroupRuleParameterConflict'],
      [{ remotePrefix: '10.0.0.0/8', remoteGroupId: 'g' }, 'SecurityGroupMultipleRemoteEntites'],
    ];
    for (const [part, type] of cases) {
      const rule = ruleOf(wish(part));
      assert.deepEqual('code' in rule && [rule.code, rule.type], [400, type], JSON.stringify(part));
    }
  });

  it('is the same as another that lets the same through', () => {
    assert.equal(ruleKey(kept({ protocol: 'tcp' })), ruleKey(kept({ protocol: 6 })));
    assert.equal(ruleKey(kept({})), ruleKey(kept({ remotePrefix: '0.0.0.0/0' })));
    assert.notEqual(ruleKey(kept({})), ruleKey(kept({ remotePrefix: '10.0.0.0/8' })));
    assert.notEqual(ruleKey(kept({})), ruleKey(kept({ direction: 'egress' })));
  });

  it('stays what it is when it is given again', () => {
    const some = fc.record({
      direction: fc.constantFrom('ingress' as const, 'egress' as const),
      ethertype: fc.constantFrom('IPv4', 'ipv6'),
      protocol: fc.constantFrom(null, 'tcp', 'icmp', 'UDP', '58', 1, 'any', 'sctp', 255),
      portMin: fc.option(fc.integer({ min: -1, max: 66_000 })),
      portMax: fc.option(fc.integer({ min: -1, max: 66_000 })),
      remotePrefix: fc.constantFrom(null, '10.1.2.3', '0.0.0.0/0', '::/0', 'FE80::/10', 'x'),
    });
    fc.assert(
      fc.property(some, (each) => {
        const rule = ruleOf(each);
        if ('code' in rule) return;
        assert.deepEqual(ruleOf(rule), rule);
      }),
    );
  });
});

describe('a new group', () => {
  it('lets everything out, and the default one its members in', () => {
    const sayings = (rules: readonly Rule[]) =>
      rules.map((rule) => `${rule.direction} ${rule.ethertype} ${rule.remoteGroupId}`);
    assert.deepEqual(sayings(firstRules({ id: 'g', isDefault: false })), ['egress IPv4 null', 'egress IPv6 null']);
    assert.deepEqual(sayings(firstRules({ id: 'g', isDefault: true })).slice(2), ['ingress IPv4 g', 'ingress IPv6 g']);
  });
});
