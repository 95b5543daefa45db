import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkKnownSpecs } from './extra-specs.ts';

const said = (name: string, value: string): string | null => checkKnownSpecs({ [name]: value })?.message ?? null;

const GOOD: readonly (readonly [string, string])[] = [
  ['hw:cpu_policy', 'mixed'],
  ['hw:numa_nodes', '2'],
  ['hw:numa_cpus.0', '0-3,^2'],
  ['hw:numa_mem.11', '64'],
  ['hw:mem_page_size', '2MB'],
  ['hw:pmu', 'YES'],
  ['hw:pmem', 'A,B'],
  ['resources:VCPU', '2'],
  ['resources_a:CUSTOM_GOLD', '0'],
  ['trait:CUSTOM_GOLD', 'required'],
  ['trait1:HW_CPU_X86_AVX2', 'forbidden'],
  ['capabilities:cpu_info:arch', 'x'],
  ['capabilities:vcpus_total', '>= 4'],
  ['pci_passthrough:alias', 'a1:2 , b:1'],
  ['quota:cpu_quota', '-1'],
  ['aggregate_instance_extra_specs:ssd', 'true'],
  ['group_policy', 'none'],
  ['mine:anything', 'x'],
  ['plain', ''],
  ['hardware:x', 'y'],
];

test('what Nova knows passes, and what is nobody’s or somebody else’s', () => {
  for (const [name, value] of GOOD) assert.equal(said(name, value), null, `${name}=${value}`);
});

test('what it does not know in namespaces of its own is refused in its words, and values that are none', () => {
  const unknown = (name: string) => `Validation failed; extra spec '${name}' does not appear to be a valid extra spec.`;
  for (const name of ['hw:bogus', 'quota:cpu', 'os:', 'trait:lower', 'resources1:NOTHING', 'capabilities:nothing'])
    assert.equal(said(name, '1'), unknown(name));
  for (const [name, value, why] of [
    ['hw:cpu_policy', 'x', "'x' is not one of: dedicated, shared, mixed."],
    ['hw:numa_nodes', '0', "'0' is less than the min value of '1'."],
    ['hw:numa_nodes', '1.5', "'1.5' is not a valid integer value."],
    ['os:monitors', '9', "'9' is greater than the max value of '8'."],
    ['hw:boot_menu', 'maybe', "'maybe' is not a valid boolean-like value."],
    ['trait:CUSTOM_GOLD', 'wanted', "'wanted' is not one of: required, forbidden."],
    ['hw:numa_cpus.0', '1,', "'1,' is not of the format '\\^?\\d+(-\\d+|,\\^?\\d+)*'."],
  ] as const)
    assert.equal(said(name, value), `Validation failed; ${why}`);
});

test('long values do not keep it busy without end', () => {
  for (const [name, part] of [
    ['hw:numa_cpus.0', '1-2,3'],
    ['hw:pmem', 'aa,'],
    ['pci_passthrough:alias', 'a:1,'],
  ] as const)
    assert.notEqual(said(name, `${part.repeat(60)}!!`), null);
});
