// The configuration file: YAML, checked against a schema that refuses unknown keys, every complaint with its line.
//
// What the command line says wins over the file, the file over the defaults. Every option with its default and unit is
// described in docs/configuration.md, which a test compares with this schema.
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { type Document, isMap, isPair, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { messageOf } from '../lib/errors.ts';
import { INTERFACES, REAL_SERVICES } from '../openstack/settings.ts';

/** As 10.42.0.0/16. */
const Cidr = Type.String({ pattern: '^[0-9.]+/[0-9]+$' });
/** An address, or a network with its prefix: see lib/networks.ts. */
const Network = Type.String({ pattern: '^[0-9a-fA-F:.]+(/[0-9]{1,3})?$', maxLength: 64 });
const Origin = Type.String({ pattern: '^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$', maxLength: 255 });
const closed = { additionalProperties: false } as const;
const Name = Type.String({ pattern: '^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$' });
const Amount = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

const HostConfig = Type.Object(
  {
    name: Name,
    /** An agent that runs elsewhere; absent: one is started on this machine. */
    url: Type.Optional(Type.String({ pattern: '^https?://', maxLength: 2048 })),
    vcpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
    memory_mb: Type.Optional(Type.Integer({ minimum: 64, maximum: 2 ** 30 })),
    disk_gb: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 30 })),
    qemu_binary: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    /** Of an agent that is started here: where shares with volumes are mounted, by name. */
    shares: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[^=]+$', maxLength: 1024 }),
        Type.String({ pattern: '^/', maxLength: 4096 }),
      ),
    ),
  },
  closed,
);

const StorageHostConfig = Type.Object(
  {
    name: Name,
    /** A storage agent that runs elsewhere; absent: one is started on this machine. */
    url: Type.Optional(Type.String({ pattern: '^https?://', maxLength: 2048 })),
  },
  closed,
);

const UserConfig = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 255 }),
    id: Type.Optional(Type.String({ pattern: '^[0-9a-f]{32}$' })),
    password: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
    password_hash: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
    email: Type.Optional(Type.String({ maxLength: 255 })),
    roles: Type.Record(
      Type.String({ minLength: 1, maxLength: 64 }),
      Type.Array(Type.String({ minLength: 1, maxLength: 255 })),
    ),
    default_project: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  },
  closed,
);

const FlavorConfig = Type.Object(
  {
    id: Type.String({ minLength: 1, maxLength: 255 }),
    name: Type.String({ minLength: 1, maxLength: 255 }),
    vcpus: Type.Integer({ minimum: 1, maximum: 1024 }),
    memory_mb: Type.Integer({ minimum: 1, maximum: 2 ** 30 }),
    disk_gb: Type.Integer({ minimum: 0, maximum: 2 ** 20 }),
    extra_specs: Type.Optional(Type.Record(Type.String(), Type.String())),
  },
  closed,
);

const Text = Type.String({ minLength: 1, maxLength: 255 });
const oneOf = <T extends string>(values: readonly T[]) =>
  Type.Unsafe<T>(Type.Union(values.map((value) => Type.Literal(value))));

const OpenstackConfig = Type.Object(
  {
    auth_url: Type.String({ pattern: '^https?://', maxLength: 2048 }),
    username: Text,
    password_file: Type.String({ minLength: 1, maxLength: 4096 }),
    user_domain_name: Type.Optional(Text),
    project_name: Type.Optional(Text),
    project_domain_name: Type.Optional(Text),
    region: Type.Optional(Text),
    interface: Type.Optional(oneOf(INTERFACES)),
    timeout_seconds: Type.Optional(Type.Number({ minimum: 1, maximum: 60 })),
    token_cache_seconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 3600 })),
    services: Type.Array(oneOf(REAL_SERVICES)),
  },
  closed,
);

const DatabaseUrl = Type.String({ pattern: '^postgres(ql)?://', maxLength: 2048 });

export const ConfigFile = Type.Object(
  {
    database: Type.Optional(Type.Object({ url: DatabaseUrl, cell_url: Type.Optional(DatabaseUrl) }, closed)),
    listen: Type.Optional(Type.String({ pattern: '^.+:[0-9]{1,5}$', maxLength: 300 })),
    data: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    public_url: Type.Optional(Type.String({ pattern: '^https?://', maxLength: 2048 })),
    host_facing_url: Type.Optional(Type.String({ pattern: '^https?://', maxLength: 2048 })),
    trusted_proxies: Type.Optional(Type.Array(Network, { maxItems: 100 })),
    console_frame_ancestors: Type.Optional(Type.Array(Origin, { maxItems: 20 })),
    region: Type.Optional(Name),
    hypervisor: Type.Optional(Type.Union([Type.Literal('qemu'), Type.Literal('simulated')])),
    cells: Type.Optional(
      Type.Array(
        Type.Object(
          {
            name: Name,
            database: Type.Optional(DatabaseUrl),
            hosts: Type.Array(HostConfig, { maxItems: 10_000 }),
          },
          closed,
        ),
        { minItems: 1, maxItems: 1000 },
      ),
    ),
    storage_hosts: Type.Optional(Type.Array(StorageHostConfig, { maxItems: 1000 })),
    identity: Type.Optional(
      Type.Object(
        {
          projects: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  name: Type.String({ minLength: 1, maxLength: 64 }),
                  id: Type.Optional(Type.String({ pattern: '^[0-9a-f]{32}$' })),
                  description: Type.Optional(Type.String({ maxLength: 1024 })),
                },
                closed,
              ),
            ),
          ),
          users: Type.Optional(Type.Array(UserConfig)),
          token_lifetime_seconds: Type.Optional(Type.Integer({ minimum: 60, maximum: 30 * 24 * 3600 })),
        },
        closed,
      ),
    ),
    openstack: Type.Optional(OpenstackConfig),
    network: Type.Optional(
      Type.Object(
        { cidr: Type.Optional(Cidr), external_cidr: Type.Optional(Cidr), gateway: Type.Optional(Type.Boolean()) },
        closed,
      ),
    ),
    images: Type.Optional(
      Type.Object(
        {
          max_bytes: Type.Optional(Amount),
          web_download: Type.Optional(Type.Boolean()),
          web_download_private: Type.Optional(Type.Boolean()),
          web_download_ports: Type.Optional(Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }))),
        },
        closed,
      ),
    ),
    flavors: Type.Optional(Type.Array(FlavorConfig, { maxItems: 1000 })),
    default_zone: Type.Optional(Name),
    force_config_drive: Type.Optional(Type.Boolean()),
    policy_file: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    resize_confirm_window_seconds: Type.Optional(Amount),
    reclaim_instance_interval: Type.Optional(Amount),
    shelved_offload_time: Type.Optional(Type.Integer({ minimum: -1, maximum: Number.MAX_SAFE_INTEGER })),
    history_retention_days: Type.Optional(Type.Integer({ minimum: 0, maximum: 36_500 })),
    shutdown_timeout_seconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 3600 })),
    heartbeat_seconds: Type.Optional(Type.Number({ minimum: 0.1, maximum: 3600 })),
    host_down_seconds: Type.Optional(Type.Number({ minimum: 3, maximum: 86_400 })),
    conductor: Type.Optional(
      Type.Object(
        {
          lanes: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
          lease_seconds: Type.Optional(Type.Integer({ minimum: 5, maximum: 600 })),
        },
        closed,
      ),
    ),
    copy: Type.Optional(Type.Object({ bytes_per_second: Type.Optional(Type.Integer({ minimum: 65_536 })) }, closed)),
    inventory: Type.Optional(
      Type.Object(
        {
          cpu_allocation_ratio: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1000 })),
          ram_allocation_ratio: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1000 })),
          disk_allocation_ratio: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1000 })),
          reserved_host_cpus: Type.Optional(Amount),
          reserved_host_memory_mb: Type.Optional(Amount),
          reserved_host_disk_gb: Type.Optional(Amount),
        },
        closed,
      ),
    ),
    scheduler: Type.Optional(
      Type.Object(
        {
          cpu_weight_multiplier: Type.Optional(Type.Number()),
          ram_weight_multiplier: Type.Optional(Type.Number()),
          disk_weight_multiplier: Type.Optional(Type.Number()),
          cross_cell_move_weight_multiplier: Type.Optional(Type.Number()),
          soft_affinity_weight_multiplier: Type.Optional(Type.Number()),
          soft_anti_affinity_weight_multiplier: Type.Optional(Type.Number()),
          max_candidates: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
          max_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 10 })),
        },
        closed,
      ),
    ),
    quota: Type.Optional(Type.Record(Type.String({ pattern: '^[a-z_]{1,64}$' }), Type.Integer({ minimum: -1 }))),
    log_level: Type.Optional(
      Type.Union([
        Type.Literal('debug'),
        Type.Literal('info'),
        Type.Literal('warn'),
        Type.Literal('error'),
        Type.Literal('silent'),
      ]),
    ),
  },
  closed,
);
export type ConfigFile = Static<typeof ConfigFile>;

/** A complaint about the configuration, for the person who wrote it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Reads a configuration file. @throws ConfigError with file, line and key */
export async function readConfig(file: string): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new ConfigError(`${resolve(file)} cannot be read: ${messageOf(error)}`);
  }
  return parseConfig(text, file);
}

/** Checks the text of a configuration file. `file`: its name, for complaints. */
export function parseConfig(text: string, file: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, merge: false });
  const [broken] = document.errors;
  if (broken) throw new ConfigError(`${file}:${lines.linePos(broken.pos[0]).line}: ${broken.message.split('\n')[0]}`);
  const value: unknown = plainValue(document, file) ?? {};
  if (Value.Check(ConfigFile, value)) return value;

  const lineOf = (path: readonly string[]): number => {
    const offset = offsetOf(document.contents, path);
    return offset === null ? 1 : lines.linePos(offset).line;
  };
  const complaints = new Map<string, number>();
  for (const error of Value.Errors(ConfigFile, value)) {
    const path = error.instancePath
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    if (error.keyword === 'additionalProperties') {
      const { additionalProperties } = error.params as { additionalProperties: string[] };
      for (const key of additionalProperties)
        complaints.set(`unknown key '${[...path, key].join('.')}'`, lineOf([...path, key]));
    } else if (error.keyword !== 'boolean') {
      complaints.set(`${path.join('.') || 'the file'} ${error.message}`, lineOf(path));
    }
  }
  throw new ConfigError([...complaints].map(([complaint, line]) => `${file}:${line}: ${complaint}`).join('\n'));
}

/** Aliases are refused: nothing here repeats enough to need them, and a few of them can stand for gigabytes. */
function plainValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 0 });
  } catch (error) {
    throw new ConfigError(`${file}: ${messageOf(error)}`);
  }
}

/** Where the value at `path` (or the key, for map entries) begins in the text. */
function offsetOf(node: unknown, path: readonly string[]): number | null {
  const [head, ...rest] = path;
  const start = (node as Node | null)?.range?.[0] ?? null;
  if (head === undefined) return start;
  if (isMap(node)) {
    const pair = node.items.find((item) => isPair(item) && String(item.key) === head);
    if (!pair) return start;
    return rest.length === 0 ? ((pair.key as Node).range?.[0] ?? start) : offsetOf(pair.value, rest);
  }
  if (isSeq(node)) return offsetOf(node.items[Number(head)], rest) ?? start;
  return start;
}
