// Which extra specs of flavors Nova knows, and what their values are: asked from microversion 2.86 on.
//
// A namespace (what stands before the first colon) that is not Nova's is its owner's business, and so is a name without
// one. Within Nova's own, a name that is not in the table below is refused: it is mistyped, as a rule. What a spec
// asks for is another question; see flavor-image.ts and filters.ts for those that mean something here.
// Source: nova/api/validation/extra_specs. One difference: any trait in capitals passes; Nova holds a list of them.
import { badRequest } from './refusal.ts';
import type { Refusal } from './types.ts';

type Rule =
  | { readonly kind: 'text' | 'boolean' }
  | { readonly kind: 'integer'; readonly min?: number; readonly max?: number }
  | { readonly kind: 'one of'; readonly values: readonly string[] }
  | { readonly kind: 'pattern'; readonly pattern: string };

const text: Rule = { kind: 'text' };
const boolean: Rule = { kind: 'boolean' };
const integer: Rule = { kind: 'integer' };
const from = (min: number, max?: number): Rule => ({ kind: 'integer', min, ...(max === undefined ? {} : { max }) });
const oneOf = (...values: string[]): Rule => ({ kind: 'one of', values });
const like = (pattern: string): Rule => ({ kind: 'pattern', pattern });

const CPUS = like('\\^?\\d+(-\\d+|,\\^?\\d+)*');
const LEVEL = oneOf('custom', 'high', 'normal', 'low');
const GROUP = '([a-zA-Z0-9_-]{1,64})?';

const of = (rule: Rule, prefix: string, names: string): [string, Rule][] =>
  names.split(' ').map((name) => [`${prefix}${name}`, rule]);

/** Names are patterns: the whole name must be like one. */
const SPECS: readonly (readonly [string, Rule])[] = [
  ['accel:device_profile', text],
  ['aggregate_instance_extra_specs:.+', text],
  ...of(
    text,
    'capabilities:',
    'aggregates cell_uuid cpu_allocation_ratio current_workload disk_allocation_ratio disk_available_least disk_mb_used failed_builds free_disk_gb free_disk_mb free_ram_mb host host_ip hypervisor_hostname hypervisor_type hypervisor_version id local_gb local_gb_used mapped memory_mb memory_mb_used num_instances num_io_ops ram_allocation_ratio running_vms service_id total_usable_disk_gb total_usable_ram_mb updated uuid vcpus vcpus_total vcpus_used',
  ),
  [
    'capabilities:(cpu_info|instances|limits|metrics|nodename|numa_topology|pci_device_pools|pci_stats|stats|supported_hv_specs|supported_instances)(:\\w+)*',
    text,
  ],
  ['group_policy', oneOf('isolate', 'none')],
  ['hide_hypervisor_id', boolean],
  ...of(
    boolean,
    'hw:',
    'boot_menu cpu_realtime ephemeral_encryption hide_hypervisor_id locked_memory mem_encryption pmu vif_multiqueue_enabled virtio_packed_ring',
  ),
  ...of(
    from(1),
    'hw:',
    'cpu_cores cpu_sockets cpu_threads cpu_max_cores cpu_max_sockets cpu_max_threads max_cpu_cores max_cpu_sockets max_cpu_threads numa_nodes numa_mem\\.\\d+',
  ),
  ...of(CPUS, 'hw:', 'cpu_dedicated_mask cpu_realtime_mask numa_cpus\\.\\d+'),
  ['hw:cpu_policy', oneOf('dedicated', 'shared', 'mixed')],
  ['hw:cpu_thread_policy', oneOf('prefer', 'isolate', 'require')],
  ['hw:emulator_threads_policy', oneOf('isolate', 'share')],
  ['hw:ephemeral_encryption_format', oneOf('plain', 'luks', 'luksv2')],
  ['hw:maxphysaddr_bits', from(0)],
  ['hw:maxphysaddr_mode', oneOf('passthrough', 'emulate')],
  ['hw:mem_page_size', like('(large|small|any|\\d+([kKMGT]i?)?(b|bit|B)?)')],
  ['hw:pci_numa_affinity_policy', oneOf('required', 'preferred', 'legacy', 'socket')],
  ['hw:pmem', like('[a-zA-Z0-9_]+(,[a-zA-Z0-9_]+)*,?')],
  ['hw:serial_port_count', from(0)],
  ['hw:tpm_model', oneOf('tpm-tis', 'tpm-crb')],
  ['hw:tpm_version', oneOf('1.2', '2.0')],
  ['hw:viommu_model', oneOf('intel', 'smmuv3', 'virtio', 'auto')],
  ['hw:watchdog_action', oneOf('none', 'pause', 'poweroff', 'reset', 'disabled')],
  ['hw_rng:allowed', boolean],
  ...of(from(0), 'hw_rng:', 'rate_bytes rate_period'),
  ['hw_video:ram_max_mb', from(0)],
  ['os:monitors', from(1, 8)],
  ['os:resolution', oneOf('1024x768', '1280x1024', '1600x1200', '1920x1200', '2560x1600', '3840x2160')],
  ['os:secure_boot', oneOf('disabled', 'required')],
  ['os:vram', oneOf('64', '128', '256', '512', '1024')],
  ['pci_passthrough:alias', like('[^:]+:\\d+(\\s*,[^:]+:\\d+)*')],
  ['quota:(cpu|disk_io|memory|vif)_shares_level', LEVEL],
  ['quota:(cpu|disk_io|memory|vif)_reservation', integer],
  ['quota:(cpu|disk_io|memory|vif)_(limit|shares_share)', from(0)],
  ['quota:cpu_quota', integer],
  ...of(from(0), 'quota:', 'cpu_period cpu_shares'),
  ['quota:disk_(read|write|total)_(bytes|iops)_sec', from(0)],
  ['quota:vif_(inbound|outbound)_(average|burst|peak)', from(0)],
  ...of(
    integer,
    `resources${GROUP}:`,
    'CUSTOM_[A-Z0-9_]+ DISK_GB FPGA IPV4_ADDRESS MEMORY_MB MEM_ENCRYPTION_CONTEXT NET_BW_(EGR|IGR)_KILOBIT_PER_SEC NET_PACKET_RATE_((EGR|IGR)_)?KILOPACKET_PER_SEC NUMA_CORE NUMA_MEMORY_MB NUMA_SOCKET NUMA_THREAD PCI_DEVICE PCPU PGPU SRIOV_NET_VF VCPU VGPU VGPU_DISPLAY_HEAD',
  ),
  [`trait${GROUP}:[A-Z0-9_]+`, oneOf('required', 'forbidden')],
  ...of(text, 'vmware:', 'hw_version storage_policy'),
];

const whole = (pattern: string): RegExp => new RegExp(`^(?:${pattern})$`, 's');
const KNOWN = SPECS.map(([name, rule]) => ({ name: whole(name), rule }));
const NAMESPACE = whole(
  [...new Set(SPECS.filter(([name]) => name.includes(':')).map(([name]) => name.split(':', 1).join()))].join('|'),
);

const BOOLEAN = /^\s*(1|t|true|on|y|yes|0|f|false|off|n|no)\s*$/i;
const INTEGER = /^\s*[+-]?\d+\s*$/;

/** Null when Nova would take the specs; otherwise its 400, which names the first that it would not. */
export function checkKnownSpecs(specs: Readonly<Record<string, string>>): Refusal | null {
  for (const [name, value] of Object.entries(specs)) {
    const wrong = complaint(name, value);
    if (wrong !== null) return badRequest(`Validation failed; ${wrong}`);
  }
  return null;
}

function complaint(name: string, value: string): string | null {
  const known = KNOWN.find((each) => each.name.test(name));
  if (known) return valueComplaint(known.rule, value);
  const [namespace = '', ...rest] = name.split(':');
  if (rest.length === 0 || !NAMESPACE.test(namespace)) return null;
  return `extra spec '${name}' does not appear to be a valid extra spec.`;
}

function valueComplaint(rule: Rule, value: string): string | null {
  switch (rule.kind) {
    case 'text':
      return null;
    case 'boolean':
      return BOOLEAN.test(value) ? null : `'${value}' is not a valid boolean-like value.`;
    case 'one of':
      return rule.values.includes(value) ? null : `'${value}' is not one of: ${rule.values.join(', ')}.`;
    case 'pattern':
      return whole(rule.pattern).test(value) ? null : `'${value}' is not of the format '${rule.pattern}'.`;
    case 'integer': {
      if (!INTEGER.test(value)) return `'${value}' is not a valid integer value.`;
      const { min = -Infinity, max = Infinity } = rule;
      if (Number(value) > max) return `'${value}' is greater than the max value of '${max}'.`;
      return Number(value) < min ? `'${value}' is less than the min value of '${min}'.` : null;
    }
  }
}
