// docs/configuration.md against the schema and the defaults of the program: every key with its type and its default.
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import test from 'node:test';
import { ConfigFile } from '../../src/cli/config.ts';
import { type Deployment, OPENSTACK_DEFAULTS, planDeployment } from '../../src/cli/deployment.ts';
import { plain, read, tables } from './markdown.ts';

/** The parts of JSON Schema that the configuration's schema is made of. */
interface Schema {
  readonly type?: string;
  readonly const?: string;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

/** What the patterns of the schema are called in the documentation. */
const PATTERNS: Readonly<Record<string, string>> = {
  '^.+:[0-9]{1,5}$': 'HOST:PORT',
  '^https?://': 'URL',
  '^/': 'absolute path',
  '^postgres(ql)?://': 'postgresql://…',
  '^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$': 'name',
  '^[0-9a-f]{32}$': '32 hex digits',
  '^[0-9.]+/[0-9]+$': 'CIDR',
  '^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$': 'origin',
  '^[0-9a-fA-F:.]+(/[0-9]{1,3})?$': 'address or CIDR',
};

function between(least: number | undefined, most: number | undefined): string {
  if (least !== undefined && most !== undefined) return `, ${least} to ${most}`;
  if (most !== undefined) return `, up to ${most}`;
  return least === undefined ? '' : `, ${least} and more`;
}

function typeOf(schema: Schema): string {
  if (schema.anyOf) return `one of ${schema.anyOf.map((each) => each.const).join(', ')}`;
  switch (schema.type) {
    case 'string':
      if (schema.pattern === undefined) return `text${between(schema.minLength, schema.maxLength)}`;
      return `text, ${PATTERNS[schema.pattern] ?? schema.pattern}`;
    case 'boolean':
      return 'true or false';
    case 'integer':
      return `whole${between(schema.minimum, schema.maximum)}`;
    case 'number':
      if (schema.exclusiveMinimum !== undefined)
        return `number, above ${schema.exclusiveMinimum}, up to ${schema.maximum}`;
      return `number${between(schema.minimum, schema.maximum)}`;
    case 'array':
      if (schema.items?.type !== 'object') return `list of ${typeOf(schema.items ?? {})}`;
      return `list${between(schema.minItems, schema.maxItems)}`;
    case 'object':
      return 'map';
    default:
      throw new Error(`a type that the documentation has no word for: ${JSON.stringify(schema)}`);
  }
}

interface Key {
  readonly key: string;
  readonly type: string;
  readonly required: boolean;
}

/** Every key that a file may have; objects with fixed keys only by their keys. */
function keysOf(schema: Schema, path: string, required: boolean): Key[] {
  const self = path === '' ? [] : [{ key: path, type: typeOf(schema), required }];
  if (schema.type === 'array') {
    return [...self, ...(schema.items?.type === 'object' ? keysOf(schema.items, `${path}[]`, false) : [])];
  }
  if (schema.patternProperties) {
    return [
      ...self,
      ...Object.values(schema.patternProperties).flatMap((each) => keysOf(each, `${path}.<name>`, false)),
    ];
  }
  if (schema.properties) {
    return Object.entries(schema.properties).flatMap(([name, each]) =>
      keysOf(each, path === '' ? name : `${path}.${name}`, schema.required?.includes(name) ?? false),
    );
  }
  return self;
}

const documented = tables(read('docs/configuration.md')).flatMap((table) => table.rows);
const keys = keysOf(ConfigFile as unknown as Schema, '', false);

test('every key is documented with its type, and no other', () => {
  assert.deepEqual(
    documented.map(([key = '', type = '']) => `${plain(key)}: ${type}`).toSorted(),
    keys.map(({ key, type }) => `${key}: ${type}`).toSorted(),
  );
});

test('what is required says so', () => {
  const said = documented.filter(([, , , value]) => value === 'required').map(([key = '']) => plain(key));
  // Only items of lists have required keys: everything else has a default when it is left out.
  const needed = keys.filter((each) => each.required && each.key.includes('[]')).map((each) => each.key);
  assert.deepEqual(said.toSorted(), needed.toSorted());
});

/** What the program takes when the file says nothing, by key. */
function defaultsOf(plan: Deployment): Readonly<Record<string, unknown>> {
  const { settings } = plan;
  const [host] = plan.hosts;
  return {
    listen: `${plan.listen.host}:${plan.listen.port}`,
    data: plan.dataDirectory,
    trusted_proxies: settings.trustedProxies.networks.join(', '),
    region: settings.region,
    log_level: plan.logLevel,
    hypervisor: plan.hypervisor,
    'cells[].hosts[].vcpus': host?.vcpus,
    'cells[].hosts[].memory_mb': host?.memoryMb,
    'cells[].hosts[].disk_gb': host?.diskGb,
    'cells[].hosts[].qemu_binary': host?.qemuBinary,
    'inventory.cpu_allocation_ratio': settings.inventory.cpuAllocationRatio,
    'inventory.ram_allocation_ratio': settings.inventory.ramAllocationRatio,
    'inventory.disk_allocation_ratio': settings.inventory.diskAllocationRatio,
    'inventory.reserved_host_cpus': settings.inventory.reservedHostCpus,
    'inventory.reserved_host_memory_mb': settings.inventory.reservedHostMemoryMb,
    'inventory.reserved_host_disk_gb': settings.inventory.reservedHostDiskGb,
    'identity.token_lifetime_seconds': plan.identity.tokenLifetimeSeconds,
    'identity.projects': plan.identity.projects.map((each) => each.name).join(', '),
    'identity.users': plan.identity.users.map((each) => each.name).join(', '),
    ...Object.fromEntries(Object.entries(OPENSTACK_DEFAULTS).map(([key, value]) => [`openstack.${key}`, value])),
    'network.cidr': plan.networkCidr,
    'network.external_cidr': plan.externalCidr,
    'network.gateway': plan.gateway,
    flavors: plan.flavors.map((each) => each.name).join(', '),
    default_zone: settings.defaultZone,
    force_config_drive: settings.forceConfigDrive,
    'images.max_bytes': settings.maxImageBytes,
    'images.web_download': settings.webDownload.enabled,
    'images.web_download_private': settings.webDownload.privateAddresses,
    'images.web_download_ports': settings.webDownload.ports.join(', '),
    resize_confirm_window_seconds: settings.resizeConfirmWindowSeconds,
    reclaim_instance_interval: settings.reclaimInstanceIntervalSeconds,
    shelved_offload_time: settings.shelvedOffloadTimeSeconds,
    history_retention_days: settings.historyRetentionDays,
    shutdown_timeout_seconds: settings.shutdownTimeoutSeconds,
    heartbeat_seconds: settings.heartbeatSeconds,
    host_down_seconds: settings.hostDownSeconds,
    'conductor.lanes': plan.conductor.lanes,
    'conductor.lease_seconds': plan.conductor.leaseMs / 1000,
    'scheduler.cpu_weight_multiplier': settings.weights.cpu_weight_multiplier,
    'scheduler.ram_weight_multiplier': settings.weights.ram_weight_multiplier,
    'scheduler.disk_weight_multiplier': settings.weights.disk_weight_multiplier,
    'scheduler.cross_cell_move_weight_multiplier': settings.weights.cross_cell_move_weight_multiplier,
    'scheduler.soft_affinity_weight_multiplier': settings.weights.soft_affinity_weight_multiplier,
    'scheduler.soft_anti_affinity_weight_multiplier': settings.weights.soft_anti_affinity_weight_multiplier,
    'scheduler.max_attempts': settings.maxAttempts,
    'scheduler.max_candidates': settings.maxCandidates,
  };
}

test('the defaults are those of the program', () => {
  const actual = defaultsOf(planDeployment({}, {}));
  const said = documented.filter(([, , , value]) => value !== 'required' && value !== '—');
  assert.deepEqual(
    said
      .map(([key = '', , , value = '']) => {
        const text = plain(value);
        return `${plain(key)} = ${plain(key) === 'data' ? resolve(text) : text}`;
      })
      .toSorted(),
    Object.entries(actual)
      .map(([key, value]) => `${key} = ${String(value)}`)
      .toSorted(),
  );
});

test('what has no default has none in the program either', () => {
  const plan = planDeployment({}, {});
  assert.equal(plan.databases.kind, 'sqlite');
  assert.equal(plan.openstack, null);
  assert.deepEqual(plan.settings.consoleFrameAncestors, []);
  assert.equal(plan.publicUrl, null);
  assert.equal(plan.hostFacingUrl, null);
  assert.equal(plan.policyFile, null);
  assert.equal(plan.copyBytesPerSecond, null);
  assert.deepEqual(plan.settings.quota, {});
  assert.ok(plan.hosts.every((host) => host.url === null));
});
