import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { formatCidr, formatIpv4, parseCidr, parseIpv4 } from './network.ts';
import {
  addressAt,
  defaultPools,
  formatRange,
  inRange,
  isHost,
  nextFreeAddress,
  overlap,
  planSubnet,
  type SubnetPlan,
  sizeOf,
} from './subnets.ts';

function planned(wish: Parameters<typeof planSubnet>[0]): SubnetPlan {
  const plan = planSubnet(wish);
  assert.ok(!('code' in plan), JSON.stringify(plan));
  return plan;
}
const cidrOf = (text: string) => parseCidr(text) ?? assert.fail(text);

describe('planning a subnet', () => {
  it("has Neutron's defaults", () => {
    assert.equal(formatCidr(planned({ cidr: '10.0.0.7/24' }).cidr), '10.0.0.0/24', 'that of an address in it');
    const { gateway, pools } = planned({ cidr: '10.0.0.0/24' });
    assert.equal(gateway, parseIpv4('10.0.0.1'));
    assert.deepEqual(pools.map(formatRange), ['10.0.0.2-10.0.0.254']);
    assert.deepEqual(planned({ cidr: '10.0.0.0/24', gateway: null }).pools.map(formatRange), ['10.0.0.1-10.0.0.254']);
    assert.deepEqual(planned({ cidr: '10.0.0.0/29', gateway: '10.0.0.3' }).pools.map(formatRange), [
      '10.0.0.1-10.0.0.2',
      '10.0.0.4-10.0.0.6',
    ]);
  });

  it('lets the gateway be outside', () => {
    const { gateway, pools } = planned({ cidr: '10.0.0.0/24', gateway: '10.0.1.0' });
    assert.equal(gateway, parseIpv4('10.0.1.0'));
    assert.deepEqual(pools.map(formatRange), ['10.0.0.1-10.0.0.254']);
  });

  it('refuses what does not fit', () => {
    const pool = (start: string, end: string) => ({ start, end });
    const cases: readonly [Parameters<typeof planSubnet>[0], number, string][] = [
      [{ cidr: '10.0.0.0/30' }, 400, 'HTTPBadRequest'],
      [{ cidr: 'fd00::/64' }, 400, 'HTTPBadRequest'],
      [{ cidr: '10.0.0.0/24', gateway: '10.0.0.0' }, 400, 'InvalidInput'],
      [{ cidr: '10.0.0.0/24', gateway: '10.0.0.255' }, 400, 'InvalidInput'],
      [{ cidr: '10.0.0.0/24', pools: [pool('10.0.0.9', '10.0.0.8')] }, 400, 'InvalidAllocationPool'],
      [{ cidr: '10.0.0.0/24', pools: [pool('10.0.0.9', '10.0.1.8')] }, 400, 'OutOfBoundsAllocationPool'],
      [
        { cidr: '10.0.0.0/24', pools: [pool('10.0.0.9', '10.0.0.20'), pool('10.0.0.20', '10.0.0.30')] },
        409,
        'OverlappingAllocationPools',
      ],
      [
        { cidr: '10.0.0.0/24', gateway: '10.0.0.10', pools: [pool('10.0.0.9', '10.0.0.20')] },
        409,
        'GatewayConflictWithAllocationPools',
      ],
    ];
    for (const [wish, code, type] of cases) {
      const plan = planSubnet(wish);
      assert.deepEqual('code' in plan && [plan.code, plan.type], [code, type], JSON.stringify(wish));
    }
  });
});

const network = fc
  .tuple(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 22, max: 29 }))
  .map(([value, prefix]) => cidrOf(`${formatIpv4(value - (value % 2 ** (32 - prefix)))}/${prefix}`));

describe('pools', () => {
  it('hold every host address but the gateway, each once', () => {
    fc.assert(
      fc.property(network, fc.nat(), (cidr, at) => {
        const gateway = cidr.network + (at % (cidr.broadcast - cidr.network + 1));
        const pools = defaultPools(cidr, gateway);
        const all = Array.from({ length: sizeOf(pools) }, (_, index) => addressAt(pools, index));
        const wanted: number[] = [];
        for (let address = cidr.network; address <= cidr.broadcast; address += 1)
          if (isHost(cidr, address) && address !== gateway) wanted.push(address);
        assert.deepEqual(all, wanted);
        assert.ok(all.every((address) => pools.some((pool) => inRange(pool, address))));
      }),
    );
  });

  it('hand out every address once, lowest first, then none', () => {
    const { pools } = planned({ cidr: '192.168.7.0/28', gateway: '192.168.7.4' });
    const used = new Set<number>();
    for (let index = 0; index < sizeOf(pools); index += 1) {
      const next = nextFreeAddress(pools, used);
      assert.equal(next, addressAt(pools, index));
      used.add(next ?? assert.fail());
    }
    assert.equal(nextFreeAddress(pools, used), null);
    assert.throws(() => addressAt(pools, sizeOf(pools)), RangeError);
  });
});

describe('overlap', () => {
  it('is having an address in common', () => {
    fc.assert(
      fc.property(network, network, (a, b) => {
        const common = Math.max(a.network, b.network) <= Math.min(a.broadcast, b.broadcast);
        assert.equal(overlap(a, b), common);
        assert.equal(overlap(b, a), common);
        assert.ok(overlap(a, a));
      }),
    );
    assert.ok(overlap(cidrOf('10.0.0.0/16'), cidrOf('10.0.7.0/24')));
    assert.ok(!overlap(cidrOf('10.0.0.0/24'), cidrOf('10.0.1.0/24')));
  });
});
