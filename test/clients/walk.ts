// A walk of the `openstack` and `nova` commands through a tenant's and an operator's day, each a process of its own, as a
// person would type them. A command passes when it ends with 0; `expect` says what a server must be afterwards.
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Outcome } from './outcomes.ts';
import { say } from './say.ts';
import { PASSWORD, type Seeded } from './system.ts';
import { withoutProxies } from './tempest.ts';

interface Step {
  readonly command: string;
  /** A server, and the status that it comes to. */
  readonly expect?: readonly [server: string, status: string];
}

const one = (command: string): Step => ({ command });
const until = (command: string, server: string, status: string): Step => ({ command, expect: [server, status] });

/** $FILE: some bytes; $HOST: the host of the second cell. */
const STEPS: readonly Step[] = [
  one('openstack versions show'),
  one('openstack token issue'),
  one('openstack catalog list'),
  one('openstack project list'),
  one('openstack image list'),
  one('openstack image create --disk-format raw --container-format bare --file $FILE image1'),
  one('openstack image show cirros'),
  one('openstack flavor list'),
  one('openstack flavor create --ram 256 --disk 2 --vcpus 1 flavor1'),
  one('openstack flavor set --property hw:cpu_policy=shared flavor1'),
  one('openstack flavor show m1.tiny'),
  one('openstack network list'),
  one('openstack network create net1'),
  one('openstack subnet create --network net1 --subnet-range 10.5.0.0/24 subnet1'),
  one('openstack port create --network net1 port1'),
  one('openstack port list'),
  one('openstack security group list'),
  one('openstack security group create group1'),
  one('openstack security group rule create --proto tcp --dst-port 22 group1'),
  one('openstack keypair create key1'),
  one('openstack keypair list'),
  until('openstack server create --image cirros --flavor m1.tiny --network net1 --key-name key1 one', 'one', 'ACTIVE'),
  one('openstack server list'),
  one('openstack server list --long --all-projects'),
  one('openstack server show one'),
  until('openstack server resize --flavor m1.small one', 'one', 'VERIFY_RESIZE'),
  until('openstack server resize confirm one', 'one', 'ACTIVE'),
  one('openstack server resize --flavor m1.medium --wait one'),
  until('openstack server resize revert one', 'one', 'ACTIVE'),
  until('openstack server migrate one', 'one', 'VERIFY_RESIZE'),
  until('openstack server migration confirm one', 'one', 'ACTIVE'),
  until('openstack server migrate --wait one', 'one', 'VERIFY_RESIZE'),
  until('openstack server migration revert one', 'one', 'ACTIVE'),
  one('openstack server migration list'),
  one('openstack --os-compute-api-version 2.80 server migration list --server one'),
  one('openstack server event list one'),
  one('openstack console log show one'),
  one('openstack console url show one'),
  one('openstack volume create --size 1 volume1'),
  one('openstack volume list'),
  one('openstack volume show volume1'),
  one('openstack server add volume one volume1'),
  one('openstack server volume list one'),
  one('openstack server remove volume one volume1'),
  one('openstack server add port one port1'),
  one('openstack server remove port one port1'),
  until('openstack server pause one', 'one', 'PAUSED'),
  until('openstack server unpause one', 'one', 'ACTIVE'),
  until('openstack server suspend one', 'one', 'SUSPENDED'),
  until('openstack server resume one', 'one', 'ACTIVE'),
  until('openstack server stop one', 'one', 'SHUTOFF'),
  until('openstack server start one', 'one', 'ACTIVE'),
  until('openstack server reboot --hard one', 'one', 'ACTIVE'),
  one('openstack server lock one'),
  one('openstack server unlock one'),
  one('openstack server set --property a=b one'),
  one('openstack server image create --name shot1 --wait one'),
  until('openstack server rebuild --image cirros one', 'one', 'ACTIVE'),
  until('openstack server rescue one', 'one', 'RESCUE'),
  until('openstack server unrescue one', 'one', 'ACTIVE'),
  until('openstack server shelve one', 'one', 'SHELVED_OFFLOADED'),
  until('openstack server unshelve one', 'one', 'ACTIVE'),
  until(
    'openstack server create --flavor m1.tiny --boot-from-volume 1 --image cirros --network net1 --wait two',
    'two',
    'ACTIVE',
  ),
  one('openstack compute service list'),
  one('openstack hypervisor list'),
  one('openstack hypervisor show cell1-host1'),
  one('openstack hypervisor stats show'),
  one('openstack host list'),
  one('openstack aggregate create --zone here aggregate1'),
  one('openstack aggregate list'),
  one('openstack aggregate delete aggregate1'),
  one('openstack availability zone list --compute'),
  one('openstack quota show'),
  one('openstack quota set --instances 20 admin'),
  one('openstack limits show --absolute'),
  one('openstack usage show'),
  one('openstack usage list'),
  one('openstack server group create --policy affinity together'),
  one('openstack server group list'),
  one('openstack server delete --wait two'),
  one('openstack server delete --wait one'),
  one('openstack volume delete volume1'),
  one('openstack port delete port1'),
  one('openstack security group delete group1'),
  one('openstack network delete net1'),
  one('openstack image delete image1 shot1'),
  one('openstack flavor delete flavor1'),
  one('openstack server group delete together'),
  one('openstack keypair delete key1'),
  one('nova list'),
  one('nova migration-list'),
  one('nova hypervisor-list'),
  one('nova usage-list'),
];

const COMMAND_LIMIT_MS = 120_000;
const STATUS_LIMIT_MS = 60_000;

/** Walks; each command is an outcome. */
/** The administrator's, as clients read them. */
export const credentials = ({ url }: Seeded): NodeJS.ProcessEnv => ({
  ...withoutProxies(process.env),
  OS_AUTH_URL: `${url}/identity/v3`,
  OS_USERNAME: 'admin',
  OS_PASSWORD: PASSWORD,
  OS_PROJECT_NAME: 'admin',
  OS_USER_DOMAIN_NAME: 'Default',
  OS_PROJECT_DOMAIN_NAME: 'Default',
  OS_IDENTITY_API_VERSION: '3',
  OS_REGION_NAME: 'RegionOne',
});

export async function walk(system: Seeded): Promise<Outcome[]> {
  const file = join(system.directory, 'bytes');
  await writeFile(file, Buffer.alloc(65_536, 7));
  const environment = credentials(system);
  const outcomes: Outcome[] = [];
  for (const { command, expect } of STEPS) {
    const ended = await run(command.replace('$FILE', file), environment);
    const reason = ended ?? (expect ? await whyNot(environment, ...expect) : null);
    say(`${reason === null ? 'ok    ' : 'FAILED'} ${command}${reason === null ? '' : `\n       ${reason}`}`);
    outcomes.push({
      test: `commands.${command}`,
      verdict: reason === null ? 'passed' : 'failed',
      reason: reason ?? '',
    });
  }
  return outcomes;
}

/** Null, or the last thing that the command said. */
function run(command: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const [program = '', ...args] = command.split(' ');
  return new Promise((resolve) => {
    execFile(program, args, { env, timeout: COMMAND_LIMIT_MS }, (error, stdout, stderr) => {
      resolve(error === null ? null : (lastLine(stderr) ?? lastLine(stdout) ?? error.message));
    });
  });
}

const lastLine = (text: string): string | undefined => text.trim().split('\n').at(-1) || undefined;

/** Null when the server has the status within the limit. */
async function whyNot(env: NodeJS.ProcessEnv, server: string, status: string): Promise<string | null> {
  const end = Date.now() + STATUS_LIMIT_MS;
  for (;;) {
    const now = await new Promise<string>((resolve) => {
      const args = ['server', 'show', server, '-f', 'value', '-c', 'status'];
      execFile('openstack', args, { env, timeout: COMMAND_LIMIT_MS }, (_error, stdout) => resolve(stdout.trim()));
    });
    if (now === status) return null;
    if (now === 'ERROR' || Date.now() > end) return `server ${server} is ${now}, not ${status}`;
    await delay(500);
  }
}
