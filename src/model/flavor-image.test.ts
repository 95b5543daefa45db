import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { checkFlavorAgainstImageProperties } from './flavor-image.ts';
import { flavor } from './test-samples.ts';

type Specs = Readonly<Record<string, string>>;
const FOUR = { vcpus: 4, memoryMb: 4096 };

const check = (extraSpecs: Specs, image: Specs): string | null => {
  const refusal = checkFlavorAgainstImageProperties(flavor({ ...FOUR, extraSpecs }), image, 'debian');
  if (refusal !== null) assert.equal(refusal.code, 400);
  return refusal?.message ?? null;
};

describe('V19 extra specs against image properties', () => {
  const cases: readonly (readonly [string, Specs, Specs, string | null])[] = [
    ['nothing set', {}, {}, null],
    ['unknown settings are nobody’s business', { 'hw:x': '1', 'a:b': 'c' }, { hw_x: '2', os_distro: 'debian' }, null],
    [
      'cpu_policy unknown in the flavor',
      { 'hw:cpu_policy': 'x' },
      {},
      "CPU policy requested from 'flavor extra specs' is invalid, given: 'x', available: '('dedicated', 'shared', 'mixed')'.",
    ],
    [
      'cpu_policy unknown in the image',
      {},
      { hw_cpu_policy: 'x' },
      "CPU policy requested from 'image properties' is invalid, given: 'x', available: '('dedicated', 'shared', 'mixed')'.",
    ],
    [
      'cpu_policy shared against dedicated',
      { 'hw:cpu_policy': 'shared' },
      { hw_cpu_policy: 'dedicated' },
      "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy set against the flavor",
    ],
    [
      'cpu_policy mixed against dedicated',
      { 'hw:cpu_policy': 'mixed' },
      { hw_cpu_policy: 'dedicated' },
      "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy set against the flavor",
    ],
    ['cpu_policy dedicated wins over shared', { 'hw:cpu_policy': 'dedicated' }, { hw_cpu_policy: 'shared' }, null],
    [
      'cpu_thread_policy isolate against require',
      { 'hw:cpu_policy': 'dedicated', 'hw:cpu_thread_policy': 'isolate' },
      { hw_cpu_thread_policy: 'require' },
      "Image property 'hw_cpu_thread_policy' is not permitted to override CPU thread pinning policy set against the flavor",
    ],
    [
      'cpu_thread_policy prefer may be overridden',
      { 'hw:cpu_policy': 'dedicated', 'hw:cpu_thread_policy': 'prefer' },
      { hw_cpu_thread_policy: 'require' },
      null,
    ],
    [
      'cpu_thread_policy unknown',
      { 'hw:cpu_thread_policy': 'x' },
      {},
      "CPU thread policy requested from 'flavor extra specs' is invalid, given: 'x', available: '('prefer', 'isolate', 'require')'.",
    ],
    [
      'cpu_thread_policy without pinning',
      { 'hw:cpu_thread_policy': 'isolate' },
      {},
      'Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy',
    ],
    [
      'emulator threads isolated without pinning',
      { 'hw:emulator_threads_policy': 'isolate' },
      {},
      'An isolated CPU emulator threads option requires a dedicated CPU policy option.',
    ],
    [
      'emulator threads unknown',
      { 'hw:emulator_threads_policy': 'x' },
      {},
      "CPU emulator threads option requested is invalid, given: 'x', available: '('share', 'isolate')'.",
    ],
    [
      'numa_nodes on both sides',
      { 'hw:numa_nodes': '2' },
      { hw_numa_nodes: '2' },
      "Image property 'hw_numa_nodes' is not permitted to override NUMA configuration set against the flavor",
    ],
    [
      'numa_nodes zero',
      { 'hw:numa_nodes': '0' },
      {},
      "The property 'numa_nodes' cannot be '0'. It must be a number greater than 0",
    ],
    [
      'numa_nodes no number',
      {},
      { hw_numa_nodes: 'two' },
      "The property 'numa_nodes' cannot be 'two'. It must be a number greater than 0",
    ],
    [
      'numa_nodes that do not divide',
      { 'hw:numa_nodes': '3' },
      {},
      'Instance CPUs and/or memory cannot be evenly distributed across instance NUMA nodes. Explicit assignment of CPUs and memory to nodes is required',
    ],
    ['numa_nodes that divide', {}, { hw_numa_nodes: '2' }, null],
    ['mem_page_size in the image alone', {}, { hw_mem_page_size: '2MB' }, "Page size 2MB forbidden against '<empty>'"],
    [
      'mem_page_size small against the image',
      { 'hw:mem_page_size': 'small' },
      { hw_mem_page_size: 'large' },
      "Page size large forbidden against 'small'",
    ],
    ['mem_page_size any leaves the choice', { 'hw:mem_page_size': 'any' }, { hw_mem_page_size: '2048' }, null],
    ['mem_page_size nonsense', { 'hw:mem_page_size': 'huge' }, {}, "Invalid memory page size 'huge'"],
    [
      'locked_memory without page size',
      { 'hw:locked_memory': 'true' },
      {},
      'locked_memory value in image or flavor is forbidden when mem_page_size is not set.',
    ],
    [
      'locked_memory that differs',
      { 'hw:locked_memory': 'true', 'hw:mem_page_size': 'large' },
      { hw_locked_memory: 'false' },
      'locked_memory value in image (False) and flavor (True) conflict. A consistent value is expected if both specified.',
    ],
    [
      'pmu that differs',
      { 'hw:pmu': 'true' },
      { hw_pmu: 'no' },
      'Flavor m1.tiny has hw:pmu extra spec explicitly set to True, conflicting with image debian which has hw_pmu explicitly set to False.',
    ],
    ['pmu that agrees', { 'hw:pmu': 'true' }, { hw_pmu: 'yes' }, null],
    [
      'virtio_packed_ring that differs',
      { 'hw:virtio_packed_ring': 'true' },
      { hw_virtio_packed_ring: 'false' },
      'Flavor has hw:virtio_packed_ring extra spec explicitly set to True, conflicting with image which has hw_virtio_packed_ring explicitly set to False.',
    ],
    [
      'serial ports above the flavor',
      { 'hw:serial_port_count': '2' },
      { hw_serial_port_count: '3' },
      'Forbidden to exceed flavor value of number of serial ports passed in image meta.',
    ],
    [
      'serial ports no number',
      { 'hw:serial_port_count': 'x' },
      {},
      "Number of serial ports specified in flavor is invalid: expected an integer, got 'x'",
    ],
    [
      'cpu topology limits above the flavor',
      { 'hw:cpu_max_sockets': '2' },
      { hw_cpu_max_sockets: '4' },
      'Image vCPU topology limits (sockets=4, cores=0, threads=0) exceeds the limits of the flavor (sockets=2, cores=0, threads=0)',
    ],
    [
      'cpu topology above the limits',
      { 'hw:cpu_max_cores': '2' },
      { hw_cpu_cores: '4' },
      'Image vCPU topology (sockets=0, cores=4, threads=0) exceeds the limits of the flavor or image (sockets=65536, cores=2, threads=65536)',
    ],
    [
      'cpu topology no number',
      { 'hw:cpu_cores': 'x' },
      {},
      "Invalid flavor extra spec. Error: invalid literal for int() with base 10: 'x'",
    ],
    ['config drive nonsense', {}, { img_config_drive: 'never' }, "Image's config drive option 'never' is invalid"],
  ];
  for (const [name, specs, image, message] of cases)
    it(`V19 ${name}`, () => assert.equal(check(specs, image), message));

  it('V19 multiqueue is not looked at with one vCPU', () => {
    const specs = { 'hw:vif_multiqueue_enabled': 'true' };
    const image = { hw_vif_multiqueue_enabled: 'false' };
    assert.equal(checkFlavorAgainstImageProperties(flavor({ vcpus: 1, extraSpecs: specs }), image, 'i'), null);
    assert.equal(checkFlavorAgainstImageProperties(flavor({ vcpus: 2, extraSpecs: specs }), image, 'i')?.code, 400);
  });

  it('V19 is total: any texts are answered', () => {
    const key = fc.constantFrom(
      'cpu_policy',
      'cpu_thread_policy',
      'numa_nodes',
      'mem_page_size',
      'locked_memory',
      'pmu',
      'serial_port_count',
      'cpu_max_cores',
      'cpu_cores',
      'constructor',
    );
    const settings = fc.dictionary(key, fc.oneof(fc.string(), fc.constantFrom('1', 'dedicated', 'any', 'true')));
    const prefixed = (prefix: string, items: Specs): Specs =>
      Object.fromEntries(Object.entries(items).map(([k, v]) => [`${prefix}${k}`, v]));
    fc.assert(
      fc.property(settings, settings, (ours, theirs) => {
        const message = check(prefixed('hw:', ours), prefixed('hw_', theirs));
        assert.ok(message === null || message.length > 0);
      }),
      { numRuns: 1000 },
    );
  });
});
