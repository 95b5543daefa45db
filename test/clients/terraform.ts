// A tenant's days with Terraform's provider for OpenStack (terraform/): an operator's configuration makes the tenant, the
// tenant's own a web shop, which is changed, moved to the other cell with another flavor, taken in by an id alone, and
// taken away, so that nothing is left. What has been applied must be whole: a plan made behind it finds nothing to do, and
// the web server is the one that it was. OpenTofu runs it; like Terraform, it knows of OpenStack what the provider says.
//
// Where the programs cannot be had (terraform-programs.ts) all of it is skipped, and says why.
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ApiClient } from '../../src/cli/client.ts';
import type { Outcome } from './outcomes.ts';
import { type Ended, run } from './run.ts';
import { say } from './say.ts';
import { CROSSCELL, PASSWORD, type Seeded } from './system.ts';
import { PROVIDER, type Programs, TOFU, terraformPrograms } from './terraform-programs.ts';
import { credentials } from './walk.ts';

type Variables = Readonly<Record<string, string | number | readonly unknown[] | Readonly<Record<string, unknown>>>>;
/** Null: well. Otherwise what is wrong. */
type Verdict = Promise<string | null>;

interface Stage {
  /** What becomes of the web server. */
  readonly name: string;
  /** Variables of tenant/main.tf that are others from here on. */
  readonly set: Variables;
  /** Whether it goes to the other cell. */
  readonly crosses?: true;
}

const STAGES: readonly Stage[] = [
  { name: 'is made', set: {} },
  { name: 'is resized to the other cell', set: { flavor: 'm1.small' }, crosses: true },
  {
    name: 'is renamed, retagged, opened otherwise, and has a larger volume and one more',
    set: {
      name: 'web-1',
      metadata: { stage: 'production', region: 'north' },
      tags: ['shop'],
      web_ports: [443, 8443],
      volumes: { data: 3, log: 1 },
    },
  },
  { name: 'is stopped', set: { power_state: 'shutoff' } },
  { name: 'is resized while it is stopped', set: { flavor: 'shop.large' }, crosses: true },
  { name: 'is started', set: { power_state: 'active' } },
  { name: 'is shelved', set: { power_state: 'shelved_offloaded' } },
  { name: 'is unshelved', set: { power_state: 'active' } },
  { name: 'is rebuilt, and has one volume less', set: { image: 'other', volumes: { log: 1 } } },
];

/** As administrators list it: what a tenant could leave behind. */
const LISTS = [
  '/identity/v3/projects',
  '/identity/v3/users',
  '/compute/v2.1/servers?all_tenants=1',
  '/compute/v2.1/flavors?is_public=none',
  '/compute/v2.1/os-server-groups?all_projects=1',
  '/compute/v2.1/os-aggregates',
  '/image/v2/images',
  '/network/v2.0/networks',
  '/network/v2.0/subnets',
  '/network/v2.0/ports',
  '/network/v2.0/routers',
  '/network/v2.0/floatingips',
  '/volume/v3/volumes?all_tenants=1',
  '/volume/v3/types',
] as const;

const HERE = join(import.meta.dirname, 'terraform');
const TENANT_PASSWORD = 'wonderland';
const PUBLIC_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKwr0rJzN5l7dYGXcCqzhfCwG7HtXyQcF3FAd6qIRzVr alice';
const LIMIT_MS = 900_000;
/** How `plan -detailed-exitcode` ends when there is something to do. */
const CHANGES = 2;

export async function terraform(system: Seeded): Promise<Outcome[]> {
  const programs = await terraformPrograms();
  if (typeof programs === 'string') {
    say(`skipped Terraform's provider\n       ${programs}`);
    return [{ test: 'terraform.provider', verdict: 'skipped', reason: programs }];
  }
  say(`${PROVIDER.name} ${PROVIDER.version}, ${TOFU.name} ${TOFU.version}`);
  const admin = new ApiClient({ url: system.url, user: 'admin', password: PASSWORD, project: 'admin' });
  await admin.login();
  const alice = { OS_USERNAME: 'alice', OS_PASSWORD: TENANT_PASSWORD, OS_PROJECT_NAME: 'shop' };
  const operator = await workspace('operator', system, programs, {});
  const tenant = await workspace('tenant', system, programs, alice);
  const imported = await workspace('imported', system, programs, alice);
  const there = await everything(admin);

  const outcomes: Outcome[] = [];
  const step = async (name: string, verdict: Verdict): Promise<void> => {
    const reason = await verdict;
    say(`${reason === null ? 'ok    ' : 'FAILED'} terraform: ${name}${reason === null ? '' : `\n${reason}`}`);
    const test = `terraform.${name}`;
    outcomes.push({ test, verdict: reason === null ? 'passed' : 'failed', reason: reason?.slice(-300) ?? '' });
  };
  await operator.set({ password: TENANT_PASSWORD });
  await step('an operator makes a tenant', operator.applied());
  await tenant.set({ image_file: system.disk.file, public_key: PUBLIC_KEY });
  let place: Place | null = null;
  for (const stage of STAGES) {
    const lived = live(stage, place, tenant, admin);
    await step(
      `the web server ${stage.name}`,
      lived.then((ended) => ended.reason),
    );
    place = (await lived).place;
  }
  await step('a server is imported', importDatabase(tenant, imported));
  await step('the shop is closed', destroyed(tenant));
  await step('the tenant is gone', destroyed(operator));
  await step('nothing is left', nothingLeft(there, admin));
  await step('the audit finds nothing', audited(system));
  return outcomes;
}

/** Where the web server is. */
interface Place {
  readonly id: string;
  readonly host: string;
}

/** Applies a stage, and looks whether the web server is still the same, and where it should be. */
async function live(
  { set, crosses }: Stage,
  before: Place | null,
  tenant: Workspace,
  admin: ApiClient,
): Promise<{ readonly reason: string | null; readonly place: Place | null }> {
  await tenant.set(set);
  const reason = await tenant.applied();
  if (reason !== null) return { reason, place: before };
  const id = await tenant.output('server');
  const { server } = await admin.call<{ server: Readonly<Record<string, string>> }>(
    'GET',
    `/compute/v2.1/servers/${id}`,
  );
  const place = { id, host: server['OS-EXT-SRV-ATTR:host'] ?? '' };
  if (before !== null && before.id !== id) return { reason: 'it is another server', place };
  return { reason: crosses && before?.host === place.host ? 'it has stayed where it was' : null, place };
}

/** A configuration in a directory of its own, with its variables and what Terraform knows of it. */
interface Workspace {
  /** Variables that are others from here on. */
  readonly set: (variables: Variables) => Promise<void>;
  readonly tofu: (...args: readonly string[]) => Promise<Ended>;
  /** Applies it; then there must be nothing left to do. */
  readonly applied: () => Verdict;
  /** Nothing is left to do. */
  readonly whole: () => Verdict;
  readonly output: (name: string) => Promise<string>;
}

async function workspace(
  name: string,
  system: Seeded,
  { tofu: program, provider }: Programs,
  extra: NodeJS.ProcessEnv,
): Promise<Workspace> {
  const directory = join(system.directory, 'terraform', name);
  await cp(join(HERE, name), directory, { recursive: true });
  // No registry is asked: this is the only provider there is.
  const rc = join(directory, 'tofu.rc');
  const overrides = `"terraform-provider-openstack/openstack" = ${JSON.stringify(provider)}`;
  await writeFile(rc, `provider_installation {\n  dev_overrides {\n    ${overrides}\n  }\n}\n`);
  const env = { ...credentials(system), ...extra, TF_CLI_CONFIG_FILE: rc, TF_IN_AUTOMATION: '1' };
  const tofu = (...args: readonly string[]): Promise<Ended> =>
    run([program, ...args], { limitMs: LIMIT_MS, cwd: directory, env });
  const whole = async (): Verdict => {
    const planned = await tofu('plan', '-no-color', '-input=false', '-detailed-exitcode');
    if (planned.ok) return null;
    return planned.status === CHANGES ? changesIn(planned.output) : errorsIn(planned.output);
  };
  let variables: Variables = {};
  return {
    tofu,
    whole,
    async set(others) {
      variables = { ...variables, ...others };
      await writeFile(join(directory, 'terraform.tfvars.json'), JSON.stringify(variables));
    },
    async applied() {
      const { ok, output } = await tofu('apply', '-no-color', '-input=false', '-auto-approve');
      return ok ? await whole() : errorsIn(output);
    },
    async output(wanted) {
      const { output } = await tofu('output', '-raw', '-no-color', wanted);
      // What is said of dev_overrides comes behind it.
      return output.split(/\s/, 1)[0] ?? '';
    },
  };
}

const destroyed = async ({ tofu }: Workspace): Verdict => {
  const { ok, output } = await tofu('destroy', '-no-color', '-input=false', '-auto-approve');
  return ok ? null : errorsIn(output);
};

/** Into a state of its own, which must be as somebody would write the server down. */
async function importDatabase(tenant: Workspace, imported: Workspace): Verdict {
  const [id, image, network] = await Promise.all(['database', 'image', 'network'].map(tenant.output));
  await imported.set({ image: image ?? '', network: network ?? '' });
  const address = 'openstack_compute_instance_v2.database';
  const { ok, output } = await imported.tofu('import', '-no-color', '-input=false', address, id ?? '');
  return ok ? await imported.whole() : errorsIn(output);
}

async function audited({ directory }: Seeded): Verdict {
  const data = join(directory, 'data');
  const { ok, output } = await run([CROSSCELL, 'audit', '--data', data], { limitMs: LIMIT_MS });
  return ok ? null : output;
}

type Everything = ReadonlyMap<string, readonly string[]>;

/** The ids of all that there is, by list. */
async function everything(admin: ApiClient): Promise<Everything> {
  const lists = LISTS.map(async (path) => {
    const answer = await admin.call<Readonly<Record<string, unknown>>>('GET', path);
    // Beside the things there may be links.
    const things = Object.values(answer).find((value) => Array.isArray(value)) as readonly { readonly id: unknown }[];
    return [path, things.map(({ id }) => String(id))] as const;
  });
  return new Map(await Promise.all(lists));
}

async function nothingLeft(before: Everything, admin: ApiClient): Verdict {
  const left = [...(await everything(admin))].flatMap(([path, ids]) =>
    ids.filter((id) => !before.get(path)?.includes(id)).map((id) => `${path}: ${id}`),
  );
  return left.length === 0 ? null : left.join('\n');
}

/** The lines of a plan that say what would change. */
const changesIn = (output: string): string => `changes again:\n${linesOf(output, /^ *(#|[-+~]|-\/\+) /)}`;

const errorsIn = (output: string): string => linesOf(output, /^[│╷]? *Error/) || output.slice(-1000);

const linesOf = (output: string, wanted: RegExp): string =>
  output
    .split('\n')
    .filter((line) => wanted.test(line))
    .join('\n');
