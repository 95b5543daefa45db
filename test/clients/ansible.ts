// Ansible's collection openstack.cloud as an operator and a tenant use it (ansible/): a market is made; made again, which
// must change nothing; gone through a day; and taken away. It comes from PyPI at fixed versions, with the OpenStack SDK that
// it goes with, into an environment of its own in var/cache/ansible. Where that cannot be had it is skipped, and says why.
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Outcome } from './outcomes.ts';
import { type Ended, run } from './run.ts';
import { say } from './say.ts';
import { PASSWORD, type Seeded } from './system.ts';
import { withoutProxies } from './tempest.ts';

/** The collection of this Ansible (2.5.0) does not know newer SDKs: 4.22 has no `version` any more. */
const PACKAGES = ['ansible==12.3.0', 'ansible-core==2.19.14', 'openstacksdk==4.5.0'] as const;
const PYTHON = '/usr/bin/python3';
const HERE = join(import.meta.dirname, 'ansible');
const CACHE = join(import.meta.dirname, '..', '..', 'var', 'cache', 'ansible');
/** There once all of them are. */
const COMPLETE = join(CACHE, 'complete');
const INSTALL_LIMIT_MS = 1_800_000;
const LIMIT_MS = 1_800_000;
const PUBLIC_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKwr0rJzN5l7dYGXcCqzhfCwG7HtXyQcF3FAd6qIRzVr bob';

interface Step {
  readonly name: string;
  readonly playbook: string;
  /** Whether nothing may be left to change. */
  readonly again?: true;
}

const STEPS: readonly Step[] = [
  { name: 'a market is made', playbook: 'made.yml' },
  { name: 'made again, nothing changes', playbook: 'made.yml', again: true },
  { name: 'a day of the market', playbook: 'changed.yml' },
  { name: 'the market is closed', playbook: 'closed.yml' },
];

export async function ansible(system: Seeded): Promise<Outcome[]> {
  const missing = existsSync(COMPLETE) ? null : await install();
  if (missing !== null) {
    say(`skipped Ansible\n       ${missing}`);
    return [{ test: 'ansible.openstack-cloud', verdict: 'skipped', reason: missing }];
  }
  say(PACKAGES.join(', '));
  const directory = join(system.directory, 'ansible');
  await mkdir(directory);
  await writeFile(join(directory, 'clouds.yaml'), JSON.stringify(cloudsOf(system.url)));
  await writeFile(
    join(directory, 'variables.json'),
    JSON.stringify({ image_file: system.disk.file, public_key: PUBLIC_KEY }),
  );
  const outcomes: Outcome[] = [];
  for (const { name, playbook, again } of STEPS) {
    const reason = whyNot(await play(directory, playbook), again === true);
    say(`${reason === null ? 'ok    ' : 'FAILED'} ansible: ${name}${reason === null ? '' : `\n${reason}`}`);
    outcomes.push({ test: `ansible.${name}`, verdict: reason === null ? 'passed' : 'failed', reason: reason ?? '' });
  }
  return outcomes;
}

async function install(): Promise<string | null> {
  if (!existsSync(PYTHON)) return `${PYTHON} is not here`;
  say(`${PACKAGES.join(', ')} are being fetched`);
  const limitMs = INSTALL_LIMIT_MS;
  await rm(CACHE, { recursive: true, force: true });
  const made = await run([PYTHON, '-m', 'venv', CACHE], { limitMs });
  if (!made.ok) return `there is no environment of Python: ${made.output.slice(-300)}`;
  const got = await run([join(CACHE, 'bin', 'pip'), 'install', '--quiet', ...PACKAGES], { limitMs });
  if (!got.ok) return `PyPI does not give it: ${got.output.slice(-300)}`;
  await writeFile(COMPLETE, PACKAGES.join('\n'));
  return null;
}

function play(directory: string, playbook: string): Promise<Ended> {
  const env = {
    ...withoutProxies(process.env),
    OS_CLIENT_CONFIG_FILE: join(directory, 'clouds.yaml'),
    ANSIBLE_HOME: join(directory, 'home'),
    ANSIBLE_NOCOLOR: '1',
    ANSIBLE_PYTHON_INTERPRETER: join(CACHE, 'bin', 'python'),
  };
  const variables = `@${join(directory, 'variables.json')}`;
  const program = join(CACHE, 'bin', 'ansible-playbook');
  return run([program, join(HERE, playbook), '--extra-vars', variables], { limitMs: LIMIT_MS, cwd: directory, env });
}

/** Null: it went well, and nothing was changed where nothing may be. */
function whyNot({ ok, output }: Ended, again: boolean): string | null {
  const lines = output.split('\n');
  if (!ok) return lines.filter((line) => /^(\[ERROR\]|fatal:)/.test(line)).join('\n') || output.slice(-500);
  if (!again) return null;
  const changed = lines.flatMap((line, at) => (line.startsWith('changed:') ? [taskAbove(lines, at)] : []));
  return changed.length === 0 ? null : `changed again: ${changed.join(', ')}`;
}

const taskAbove = (lines: readonly string[], at: number): string =>
  lines.slice(0, at).findLast((line) => line.startsWith('TASK [')) ?? '';

const cloudsOf = (url: string): unknown => ({
  clouds: { operator: cloud(url, 'admin', PASSWORD, 'admin'), tenant: cloud(url, 'bob', 'wonderland', 'market') },
});

const cloud = (url: string, username: string, password: string, project: string): unknown => ({
  region_name: 'RegionOne',
  auth: {
    auth_url: `${url}/identity/v3`,
    username,
    password,
    project_name: project,
    user_domain_name: 'Default',
    project_domain_name: 'Default',
  },
});
