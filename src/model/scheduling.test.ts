import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { compileFilters } from './filters.ts';
import type { Aggregate, HostState, ScheduleRequest } from './hosts.ts';
import { freeDiskMb, freeRamMb, freeVcpus, versionText } from './hosts.ts';
import { compileImageRequirements, compileVersionPredicate } from './image-requirements.ts';
import { addResources, amountOf } from './resources.ts';
import type { ScheduleResult } from './scheduling.ts';
import { schedule } from './scheduling.ts';
import { GROUP_POLICIES } from './server-groups.ts';
import { host, request } from './test-samples.ts';
import { RESOURCE_CLASSES } from './types.ts';
import type { WeightMultipliers } from './weighers.ts';
import { DEFAULT_MULTIPLIERS, multiplierOf } from './weighers.ts';

const names = (result: ScheduleResult): readonly string[] =>
  result.kind === 'selected' ? result.hosts.map((weighed) => weighed.host.hostName) : [];

/** The first filter that refuses the host, with its reason; null if it passes. */
function refusalOf(req: ScheduleRequest, state: HostState): string | null {
  for (const filter of compileFilters(req)) {
    const reason = filter.refuse(state);
    if (reason !== null) return `${filter.name}: ${reason}`;
  }
  return null;
}

const gold: Aggregate = { name: 'gold', metadata: { tier: 'gold, silver' } };
const fast: Aggregate = { name: 'fast', metadata: { disk: 'ssd', iops: '5000' } };

const anyAggregates: fc.Arbitrary<readonly Aggregate[]> = fc.subarray<Aggregate>([
  gold,
  fast,
  { name: 'heavy', metadata: { ram_weight_multiplier: '-2.5', tier: 'bronze' } },
  { name: 'drain', metadata: { cross_cell_move_weight_multiplier: '-1000000' } },
  { name: 'broken', metadata: { cpu_weight_multiplier: 'much' } },
]);

const anyHost: fc.Arbitrary<Omit<HostState, 'hostId' | 'hostName'>> = fc
  .record({
    cell: fc.constantFrom('c1', 'c2', 'c3', 'c4'),
    zone: fc.constantFrom('nova', 'z1'),
    aggregates: anyAggregates,
    disabled: fc.nat(9).map((n) => n === 0),
    up: fc.nat(9).map((n) => n > 0),
    vcpus: fc.nat(16),
    ram: fc.nat(16_384),
    disk: fc.nat(100),
    ratio: fc.constantFrom(1, 2, 4),
    usedVcpus: fc.nat(8),
    usedRam: fc.nat(8192),
    accelerator: fc.constantFrom('kvm' as const, 'tcg' as const),
    architecture: fc.constantFrom('x86_64', 'aarch64'),
  })
  .map((h) => {
    const {
      hostId: _id,
      hostName: _name,
      ...rest
    } = host({
      cellId: h.cell,
      cellName: h.cell,
      cellDisabled: h.cell === 'c3',
      cellDown: h.cell === 'c4',
      zone: h.zone,
      aggregates: h.aggregates,
      disabled: h.disabled,
      up: h.up,
      accelerator: h.accelerator,
      architecture: h.architecture,
      inventories: {
        VCPU: { total: h.vcpus, reserved: 0, allocationRatio: h.ratio },
        MEMORY_MB: { total: h.ram, reserved: 512, allocationRatio: 1 },
        DISK_GB: { total: h.disk, reserved: 0, allocationRatio: 1 },
      },
      used: addResources({ VCPU: h.usedVcpus, MEMORY_MB: h.usedRam }, {}),
    });
    return rest;
  });

const anyHosts: fc.Arbitrary<readonly HostState[]> = fc
  .array(anyHost, { maxLength: 12 })
  .map((hosts) => hosts.map((h, index) => ({ ...h, hostId: `id-${index}`, hostName: `host-${index}` })));

const anyRequest: fc.Arbitrary<ScheduleRequest> = fc
  .record({
    vcpus: fc.nat(4),
    ram: fc.nat(2048),
    disk: fc.nat(20),
    zone: fc.option(fc.constantFrom('nova', 'z1')),
    requestedHost: fc.option(fc.constantFrom('host-0', 'host-1', 'nowhere'), { freq: 6 }),
    ignoreHosts: fc.subarray(['host-0', 'host-2']),
    homeCellId: fc.option(fc.constantFrom('c1', 'c2')),
    crossCellAllowed: fc.boolean(),
    group: fc.option(
      fc.record({
        policy: fc.constantFrom(...GROUP_POLICIES),
        maxServerPerHost: fc.integer({ min: 1, max: 2 }),
        members: fc
          .array(fc.tuple(fc.constantFrom('id-0', 'id-1', 'id-2', 'id-3'), fc.integer({ min: 1, max: 3 })), {
            maxLength: 3,
          })
          .map((pairs) => new Map(pairs)),
      }),
    ),
    extraSpecs: fc.constantFrom<Readonly<Record<string, string>>>(
      {},
      {},
      { 'aggregate_instance_extra_specs:tier': '<or> gold <or> bronze' },
      { 'capabilities:vcpus_total': '>= 4', 'hw:cpu_policy': 'shared' },
    ),
    imageProperties: fc.constantFrom<Readonly<Record<string, string>>>(
      {},
      {},
      { hw_architecture: 'amd64' },
      { img_hv_type: 'kvm' },
    ),
  })
  .map(({ vcpus, ram, disk, ...rest }) => ({
    ...rest,
    resources: addResources({ VCPU: vcpus, MEMORY_MB: ram, DISK_GB: disk }, {}),
  }));

describe('filters', () => {
  it('V29 hosts of disabled cells are no candidates', () => {
    assert.equal(refusalOf(request(), host({ cellDisabled: true })), 'EnabledCells: cell disabled');
  });

  it('hosts of cells whose databases are down are no candidates', () => {
    assert.equal(refusalOf(request(), host({ cellDown: true })), "ReachableCells: the cell's database is down");
  });

  it('V3 a move that may not cross stays in its cell', () => {
    const confined = request({ homeCellId: 'c1', crossCellAllowed: false });
    assert.equal(refusalOf(confined, host({ cellId: 'c2' })), 'HomeCell: in another cell');
    assert.equal(refusalOf(confined, host()), null);
    assert.equal(refusalOf(request({ homeCellId: 'c1' }), host({ cellId: 'c2' })), null);
    assert.equal(refusalOf(request({ homeCellId: null, crossCellAllowed: false }), host({ cellId: 'c2' })), null);
  });

  it('V26 ignored hosts are left out', () => {
    assert.equal(refusalOf(request({ ignoreHosts: ['host1'] }), host()), 'IgnoreHosts: left out, or tried before');
  });

  it('a host with an old disk of the server says that it is for this disk', () => {
    const barred = refusalOf(request({ hostsWithRemains: ['host1'] }), host());
    assert.match(barred ?? '', /^Remains: an old disk.*quarantine/);
    assert.equal(refusalOf(request({ hostsWithRemains: ['host2'] }), host()), null);
  });

  it('V27 a host asked for is the only candidate and still passes all filters', () => {
    assert.equal(refusalOf(request({ requestedHost: 'host2' }), host()), 'RequestedHost: another host was asked for');
    assert.equal(refusalOf(request({ requestedHost: 'host1' }), host()), null);
    assert.equal(refusalOf(request({ requestedHost: 'host1' }), host({ up: false })), 'ComputeFilter: down');
  });

  it('ComputeFilter refuses disabled and down hosts', () => {
    assert.equal(refusalOf(request(), host({ disabled: true })), 'ComputeFilter: disabled');
    assert.equal(refusalOf(request(), host({ up: false })), 'ComputeFilter: down');
  });

  it('V28 AvailabilityZoneFilter keeps a server in the zone it was asked for', () => {
    assert.equal(refusalOf(request({ zone: 'z1' }), host()), 'AvailabilityZoneFilter: not in zone z1');
    assert.equal(refusalOf(request({ zone: 'nova' }), host()), null);
  });

  it('AggregateInstanceExtraSpecsFilter looks at scoped and unscoped specs, over all aggregates and their lists', () => {
    const ask = (spec: string, value: string, aggregates: readonly Aggregate[]): string | null =>
      refusalOf(request({ extraSpecs: { [spec]: value } }), host({ aggregates }));
    const scoped = 'aggregate_instance_extra_specs:tier';
    assert.equal(ask(scoped, 'silver', [gold]), null);
    assert.equal(ask('tier', 'silver', [gold]), null);
    assert.equal(
      ask(scoped, 'bronze', [gold]),
      `AggregateInstanceExtraSpecsFilter: extra spec ${scoped} is not met by an aggregate`,
    );
    assert.match(ask('tier', 'gold', []) ?? '', /^AggregateInstanceExtraSpecsFilter/);
    assert.equal(ask('aggregate_instance_extra_specs:iops', '>= 4000', [gold, fast]), null);
    assert.match(ask('aggregate_instance_extra_specs:iops', '>= 6000', [gold, fast]) ?? '', /^Aggregate/);
    assert.equal(ask('hw:cpu_policy', 'dedicated', []), null);
    assert.match(ask('constructor', 'x', [gold]) ?? '', /^Aggregate/);
  });

  it('ComputeCapabilitiesFilter looks at what the host can', () => {
    const ask = (key: string, value: string): string | null =>
      refusalOf(request({ extraSpecs: { [key]: value } }), host());
    assert.equal(ask('capabilities:hypervisor_type', 's== QEMU'), null);
    assert.equal(ask('capabilities:hypervisor_version', '>= 6000000'), null);
    assert.equal(ask('capabilities:cpu_info:arch', 'x86_64'), null);
    assert.equal(
      ask('capabilities:vcpus_total', '>= 9'),
      'ComputeCapabilitiesFilter: extra spec capabilities:vcpus_total is not met',
    );
    assert.match(ask('capabilities:nothing', 'x') ?? '', /^ComputeCapabilitiesFilter/);
    assert.match(ask('vcpus_total', '99') ?? '', /^ComputeCapabilitiesFilter/);
  });

  it('ImagePropertiesFilter compares architecture, hypervisor type, mode and version', () => {
    const ask = (imageProperties: Record<string, string>, changes: Partial<HostState> = {}): boolean =>
      refusalOf(request({ imageProperties }), host(changes)) === null;
    assert.ok(
      ask({ hw_architecture: 'AMD64' }) && ask({ architecture: 'x86_64' }) && !ask({ hw_architecture: 'aarch64' }),
    );
    assert.ok(ask({ hw_architecture: 'i586' }, { architecture: 'i686' }));
    assert.ok(
      ask({ img_hv_type: 'qemu' }) &&
        !ask({ img_hv_type: 'kvm' }) &&
        ask({ img_hv_type: 'kvm' }, { accelerator: 'kvm' }),
    );
    assert.ok(ask({ hw_vm_mode: 'hvm' }) && ask({ vm_mode: 'hv' }) && !ask({ hw_vm_mode: 'xen' }));
    assert.ok(ask({ img_hv_type: 'qemu', img_hv_requested_version: '>=7.0,<8' }));
    assert.ok(!ask({ img_hv_type: 'qemu', img_hv_requested_version: '>=8.0' }));
    assert.ok(!ask({ img_hv_type: 'qemu', img_hv_requested_version: 'new' }));
    assert.ok(ask({ img_hv_requested_version: '>=99' }) && ask({ os_distro: 'debian' }));
    assert.equal(compileImageRequirements({ constructor: 'x' }), null);
    assert.equal(versionText(7_002_022), '7.2.22');
    assert.equal(compileVersionPredicate('>=7.2,!=7.2.5')('7.2.22'), true);
    assert.equal(compileVersionPredicate('==7.2')('7.2.0'), true);
  });

  it('Capacity names what is short, and takes the last unit', () => {
    assert.equal(
      refusalOf(request({ resources: { VCPU: 17, DISK_GB: 101 } }), host()),
      'Capacity: not enough VCPU, DISK_GB',
    );
    assert.equal(refusalOf(request({ resources: { VCPU: 16, MEMORY_MB: 7680, DISK_GB: 100 } }), host()), null);
  });
});

describe('weighers', () => {
  it('spread by default and stack when the multiplier is negative', () => {
    const hosts = [host({ hostName: 'full', used: { MEMORY_MB: 4096 } }), host({ hostName: 'empty' })];
    assert.deepEqual(names(schedule(request(), hosts)), ['empty', 'full']);
    assert.deepEqual(names(schedule(request(), hosts, { ...DEFAULT_MULTIPLIERS, ram_weight_multiplier: -1 })), [
      'full',
      'empty',
    ]);
  });

  it('count an overcommitted host as having nothing free, not less', () => {
    const light = request({ resources: { DISK_GB: 1 } });
    const over = (hostName: string, MEMORY_MB: number): HostState => host({ hostName, used: { MEMORY_MB } });
    assert.deepEqual(names(schedule(light, [over('a', 9000), over('b', 8000)])), ['a', 'b']);
    assert.deepEqual(names(schedule(light, [over('a', 9000), over('b', 8000), over('c', 7679)])), ['c', 'a', 'b']);
  });

  it('CrossCellWeigher keeps a move in its cell however full it is, and drains when negative', () => {
    const hosts = [host({ hostName: 'home', used: { MEMORY_MB: 7000 } }), host({ hostName: 'away', cellId: 'c2' })];
    const move = request({ homeCellId: 'c1' });
    assert.deepEqual(names(schedule(move, hosts)), ['home', 'away']);
    assert.deepEqual(names(schedule(request(), hosts)), ['away', 'home']);
    const drain = { ...DEFAULT_MULTIPLIERS, cross_cell_move_weight_multiplier: -1_000_000 };
    assert.deepEqual(names(schedule(move, hosts, drain)), ['away', 'home']);
  });

  it('CrossCellWeigher cannot override a filter', () => {
    const hosts = [host({ hostName: 'home' }), host({ hostName: 'away', cellId: 'c2', aggregates: [gold] })];
    const move = request({ homeCellId: 'c1', extraSpecs: { 'aggregate_instance_extra_specs:tier': 'gold' } });
    assert.deepEqual(names(schedule(move, hosts)), ['away']);
  });

  it('take the lowest multiplier of the aggregates, and the default where one is no number', () => {
    const aggregate = (value: string): Aggregate => ({ name: value, metadata: { cpu_weight_multiplier: value } });
    assert.equal(multiplierOf([], 'cpu_weight_multiplier', 1), 1);
    assert.equal(multiplierOf([aggregate('3'), aggregate('-2')], 'cpu_weight_multiplier', 1), -2);
    assert.equal(multiplierOf([aggregate('3'), aggregate('x')], 'cpu_weight_multiplier', 1), 1);
    const draining: Aggregate = { name: 'drain', metadata: { cross_cell_move_weight_multiplier: '-1000000' } };
    const hosts = [
      host({ hostName: 'home', aggregates: [draining] }),
      host({ hostName: 'away', cellId: 'c2', aggregates: [draining] }),
    ];
    assert.deepEqual(names(schedule(request({ homeCellId: 'c1' }), hosts)), ['away', 'home']);
  });
});

/** Nova's algorithm word by word, slow and plain: what the fast one must agree with. */
function naiveOrder(
  req: ScheduleRequest,
  hosts: readonly HostState[],
  multipliers: WeightMultipliers,
): readonly string[] {
  const cross = (h: HostState): number =>
    req.homeCellId !== null && req.crossCellAllowed ? (h.cellId === req.homeCellId ? 1 : -1) : 0;
  const members =
    (policy: string) =>
    (h: HostState): number =>
      req.group?.policy === policy ? (req.group.members.get(h.hostId) ?? 0) : 0;
  const weighers = [
    { option: 'cross_cell_move_weight_multiplier', min: undefined, of: cross },
    { option: 'ram_weight_multiplier', min: 0, of: freeRamMb },
    { option: 'cpu_weight_multiplier', min: 0, of: freeVcpus },
    { option: 'disk_weight_multiplier', min: 0, of: freeDiskMb },
    { option: 'soft_affinity_weight_multiplier', min: undefined, of: members('soft-affinity') },
    {
      option: 'soft_anti_affinity_weight_multiplier',
      min: undefined,
      of: (h: HostState) => -members('soft-anti-affinity')(h),
    },
  ] as const;
  const weights = hosts.map(() => 0);
  for (const { option, min, of } of weighers) {
    if (hosts.length < 2) break;
    const raw = hosts.map((h) => (min === undefined ? of(h) : Math.max(of(h), min)));
    const low = min ?? Math.min(...raw);
    const high = Math.max(...raw);
    hosts.forEach((h, i) => {
      const values = h.aggregates.flatMap((a) =>
        a.metadata[option] === undefined ? [] : [Number(a.metadata[option])],
      );
      const multiplier = values.length === 0 || values.some(Number.isNaN) ? multipliers[option] : Math.min(...values);
      const normalised = high === low ? 0 : ((raw[i] ?? 0) - low) / (high - low);
      weights[i] = (weights[i] ?? 0) + multiplier * normalised;
    });
  }
  return hosts
    .map((h, i) => ({ name: h.hostName, weight: weights[i] ?? 0 }))
    .sort((a, b) => b.weight - a.weight || (a.name < b.name ? -1 : 1))
    .map(({ name }) => name);
}

describe('schedule', () => {
  it('chooses only hosts that pass every filter, and all of those', () => {
    fc.assert(
      fc.property(anyRequest, anyHosts, (req, hosts) => {
        const passing = hosts.filter((h) => refusalOf(req, h) === null).map((h) => h.hostName);
        const result = schedule(req, hosts);
        assert.deepEqual([...names(result)].sort(), [...passing].sort());
        assert.equal(result.kind, passing.length > 0 ? 'selected' : 'none');
        if (result.kind === 'selected') assert.equal(result.chosen, result.hosts[0]);
        const eliminated = result.eliminated.reduce((sum, e) => sum + e.hosts, 0);
        assert.equal(eliminated + passing.length, hosts.length);
      }),
      { numRuns: 500 },
    );
  });

  it('does not depend on the order of the hosts', () => {
    const shuffled = anyHosts.chain((hosts) =>
      fc.tuple(
        fc.constant(hosts),
        fc.shuffledSubarray([...hosts], { minLength: hosts.length, maxLength: hosts.length }),
      ),
    );
    fc.assert(
      fc.property(anyRequest, shuffled, (req, [hosts, permuted]) => {
        const [a, b] = [schedule(req, hosts), schedule(req, permuted)];
        assert.deepEqual(a, b);
      }),
      { numRuns: 500 },
    );
  });

  it('never finds more hosts for a bigger request', () => {
    const growth = fc.record({ VCPU: fc.nat(8), MEMORY_MB: fc.nat(8192), DISK_GB: fc.nat(50) });
    fc.assert(
      fc.property(anyRequest, anyHosts, growth, (req, hosts, more) => {
        const small = names(schedule(req, hosts));
        const big = names(schedule({ ...req, resources: addResources(req.resources, more) }, hosts));
        for (const name of big) assert.ok(small.includes(name));
      }),
      { numRuns: 500 },
    );
  });

  it("orders as Nova's algorithm does, word by word", () => {
    const factor = fc.constantFrom(-2, -1, 0, 0.5, 1, 3);
    const anyMultipliers: fc.Arbitrary<WeightMultipliers> = fc.record({
      ram_weight_multiplier: factor,
      cpu_weight_multiplier: factor,
      disk_weight_multiplier: factor,
      cross_cell_move_weight_multiplier: fc.constantFrom(-1_000_000, 0, 1_000_000),
      soft_affinity_weight_multiplier: factor,
      soft_anti_affinity_weight_multiplier: factor,
    });
    fc.assert(
      fc.property(anyRequest, anyHosts, anyMultipliers, (req, hosts, multipliers) => {
        const passing = hosts.filter((h) => refusalOf(req, h) === null);
        assert.deepEqual(names(schedule(req, hosts, multipliers)), naiveOrder(req, passing, multipliers));
      }),
      { numRuns: 1000 },
    );
  });

  it('leaves room for what it chose: the claim fits', () => {
    fc.assert(
      fc.property(anyRequest, anyHosts, (req, hosts) => {
        const result = schedule(req, hosts);
        if (result.kind === 'none') return;
        const { inventories, used } = result.chosen.host;
        for (const c of RESOURCE_CLASSES) {
          const wanted = amountOf(req.resources, c);
          const inventory = inventories[c];
          if (wanted === 0) continue;
          assert.ok(inventory !== undefined);
          assert.ok(amountOf(used, c) + wanted <= (inventory.total - inventory.reserved) * inventory.allocationRatio);
        }
      }),
    );
  });

  it('decides ties by host name', () => {
    const hosts = ['b', 'c', 'a'].map((hostName) => host({ hostName }));
    assert.deepEqual(names(schedule(request(), hosts)), ['a', 'b', 'c']);
  });

  it('says why nothing was found', () => {
    const hosts = [
      host({ hostName: 'a', up: false }),
      host({ hostName: 'b', disabled: true }),
      host({ hostName: 'c' }),
    ];
    const result = schedule(request({ resources: { VCPU: 99 } }), hosts);
    assert.deepEqual(result, {
      kind: 'none',
      eliminated: [
        {
          filter: 'ComputeFilter',
          hosts: 2,
          reasons: [
            { reason: 'disabled', hosts: 1 },
            { reason: 'down', hosts: 1 },
          ],
        },
        { filter: 'Capacity', hosts: 1, reasons: [{ reason: 'not enough VCPU', hosts: 1 }] },
      ],
      reason:
        'No valid host was found. There are not enough hosts available. Of 3 hosts, eliminated by: ComputeFilter 2 (disabled: 1; down: 1), Capacity 1 (not enough VCPU: 1).',
    });
    const nothing = schedule(request(), []);
    assert.ok(nothing.kind === 'none');
    assert.match(nothing.reason, /There is no host at all\.$/);
  });
});
