// The `crosscell` program: commands, options, exit statuses. 0: done; 1: it failed; 2: wrong usage or configuration.
// Each command loads its own modules when it is chosen, so that an agent does not carry the control plane.
import { readFileSync } from 'node:fs';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import type { SimulateFlags } from '../simulation/command.ts';
import { SAFETIES } from '../simulation/safety.ts';
import { NoSuchEvents, numbersOf } from '../simulation/shrink.ts';
import type { AgentOptions } from './agent.ts';
import type { CellsOptions } from './cells.ts';
import { ConfigError, type ConfigFile, readConfig } from './config.ts';
import { DEFAULTS, type Deployment, type Flags, planDeployment } from './deployment.ts';
import type { HostsOptions } from './hosts.ts';
import type { MovesOptions } from './moves.ts';
import type { PolicyOptions } from './policy.ts';
import type { QuarantineOptions } from './quarantine.ts';
import type { StorageOptions } from './storage.ts';

const VERSION = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[0-9]+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`a whole number from ${least} to ${most} is needed.`);
    }
    return value;
  };
}

function decimal(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[0-9]+(\.[0-9]+)?$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`a number from ${least} to ${most} is needed.`);
    }
    return value;
  };
}

function eventNumbers(text: string): readonly number[] {
  const numbers = numbersOf(text);
  if (numbers === null) throw new InvalidArgumentError('numbers and ranges of events such as 0,3-5 are needed.');
  return numbers;
}

/** Ends the program, whatever it has still open, as soon as everything that it printed is out: a pipe takes it piece by piece. */
async function endProgram(): Promise<never> {
  for (const stream of [process.stdout, process.stderr]) await new Promise((resolve) => stream.write('', resolve));
  process.exit();
}

interface DeploymentOptions extends Flags {
  readonly config?: string;
}

const withDeployment = (command: Command): Command =>
  command
    .option('--data <dir>', `directory of databases, images, secrets and host states (default: ${DEFAULTS.data})`)
    .option('--database <url>', 'postgresql://… of the global database (default: SQLite files in the data directory)')
    .option('--config <file>', 'YAML configuration file; unknown keys are refused with their line');

/** For `api` and `conductor`, which are on PostgreSQL alone and keep nothing of hosts. */
const withSharedDeployment = (command: Command, contents: string): Command =>
  command
    .option('--data <dir>', `directory of ${contents} (default: ${DEFAULTS.data})`)
    .option('--database <url>', 'postgresql://… of the global database; this or database.url is needed')
    .option('--config <file>', 'YAML configuration file, the same for all processes');

const withListen = (command: Command): Command =>
  command.option('--listen <host:port>', `address of the API (default: ${DEFAULTS.listen})`);

const withSize = (command: Command): Command =>
  withListen(command)
    .option('--cells <n>', `cells to make, cell1 … cellN (default: ${DEFAULTS.cells})`, whole(1, 1000))
    .option('--hosts-per-cell <n>', `hosts in each cell (default: ${DEFAULTS.hostsPerCell})`, whole(1, 10_000))
    .addOption(
      new Option('--hypervisor <kind>', `what runs the guests (default: ${DEFAULTS.hypervisor})`).choices([
        'qemu',
        'simulated',
      ]),
    )
    .option(
      '--admin-password <password>',
      'password of the user admin (default: made at the first start, in secrets/admin-password)',
    );

const cloudOption = (): Option =>
  new Option('--cloud <name>', 'cloud in the clouds.yaml; its password may come from OS_PASSWORD').default(
    process.env['OS_CLOUD'] ?? 'crosscell',
    'OS_CLOUD, else crosscell',
  );

async function deploymentOf(options: DeploymentOptions): Promise<Deployment> {
  const file: ConfigFile = options.config === undefined ? {} : await readConfig(options.config);
  return planDeployment(file, options);
}

// Whoever read our output has gone (`crosscell up | head`): that is no reason to leave guests and sagas alone.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

const program = new Command('crosscell')
  .description('Runs virtual machines in many cells behind one OpenStack-compatible API, and moves them between cells.')
  .showHelpAfterError()
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

withSize(withDeployment(program.command('up')))
  .description('run the whole system on this machine until Ctrl-C; the data is kept')
  .option('--json', 'print one JSON object when it serves', false)
  .option('--no-image', 'do not build and upload the guest image')
  .option('--allow-faults', 'let administrators inject faults, crashes of this process among them: for trials', false)
  .action(async (options: DeploymentOptions & { json: boolean; image: boolean; allowFaults: boolean }) => {
    const { up } = await import('./up.ts');
    const { json, image, allowFaults } = options;
    process.exitCode = await up({ deployment: await deploymentOf(options), json, image, allowFaults });
    await endProgram();
  });

withListen(withSharedDeployment(program.command('api'), 'secrets and images'))
  .description('serve the API on PostgreSQL; conductors and agents run elsewhere, any number of each')
  .option('--json', 'print one JSON object when it serves; the log goes to the standard error', false)
  .action(async (options: DeploymentOptions & { json: boolean }) => {
    const { serve } = await import('./serve.ts');
    process.exitCode = await serve(await deploymentOf(options), 'api', options.json);
    await endProgram();
  });

withSharedDeployment(program.command('conductor'), 'secrets')
  .description('drive moves and watch over hosts on PostgreSQL, beside any number of others')
  .option('--json', 'print one JSON object when it works; the log goes to the standard error', false)
  .action(async (options: DeploymentOptions & { json: boolean }) => {
    const { serve } = await import('./serve.ts');
    process.exitCode = await serve(await deploymentOf(options), 'conductor', options.json);
    await endProgram();
  });

program
  .command('demo')
  .description('drive real guests through six scenes of moves and failures, and say what held')
  .option('--data <dir>', 'directory that the demo empties and fills', 'var/demo')
  .addOption(
    new Option('--hypervisor <kind>', 'what runs the guests (default: qemu if it is here)').choices([
      'qemu',
      'simulated',
    ]),
  )
  .option('--json', 'print the report instead of what happens', false)
  .action(async (options: { data: string; hypervisor?: 'qemu' | 'simulated'; json: boolean }) => {
    const { demo } = await import('./demo/demo.ts');
    process.exitCode = await demo(options);
    await endProgram();
  });

program
  .command('agent')
  .description('run the agent of one compute host; its guests outlive it')
  .requiredOption('--name <host>', 'name of the host, as the control plane knows it')
  .requiredOption('--state-dir <dir>', 'directory of its guests, images and records')
  .requiredOption('--secret-file <file>', 'file with the secret shared with the control plane')
  .option('--listen <host:port>', 'address of its contract; port 0: any', '127.0.0.1:8775')
  .option('--data-address <host>', 'address under which other hosts copy disks from it (default: that of --listen)')
  .option('--vcpus <n>', 'vCPUs that it offers (default: those of the machine)', whole(1, 4096))
  .option('--memory-mb <n>', 'MiB of memory that it offers (default: those of the machine)', whole(64, 2 ** 30))
  .option('--disk-gb <n>', 'GiB of disk that it offers (default: the size of its file system)', whole(1, 2 ** 30))
  .option('--qemu-binary <file>', 'QEMU to run', 'qemu-system-x86_64')
  .addOption(
    new Option('--accelerator <kind>', 'auto: KVM where a probe shows that it works')
      .choices(['auto', 'kvm', 'tcg'])
      .default('auto'),
  )
  .option('--run-as <user>', "user that QEMU runs as when the agent is root; '' for the agent's own", 'nobody')
  .option(
    '--copy-bytes-per-second <n>',
    'limit of each incoming disk copy (default: none)',
    whole(65_536, Number.MAX_SAFE_INTEGER),
  )
  .option('--share <name=path...>', 'where a share with volumes is mounted, such as 10.0.0.5:/volumes=/mnt/volumes')
  .action(async (options: AgentOptions) => {
    const { agent } = await import('./agent.ts');
    process.exitCode = await agent(options);
    await endProgram();
  });

program
  .command('storage')
  .description('run a storage host: it keeps volumes and serves them; they outlive it')
  .requiredOption('--name <host>', 'name of the storage host, as the control plane knows it')
  .requiredOption('--state-dir <dir>', 'directory of its volumes, keys and records')
  .requiredOption('--secret-file <file>', 'file with the secret shared with the control plane')
  .option('--listen <host:port>', 'address of its contract; port 0: any', '127.0.0.1:8777')
  .option('--data-address <host>', 'address under which compute hosts reach volumes (default: that of --listen)')
  .option('--daemon-binary <file>', 'daemon that serves a volume', 'qemu-storage-daemon')
  .option('--run-as <user>', "user that daemons run as when the agent is root; '' for the agent's own", 'nobody')
  .action(async (options: StorageOptions) => {
    const { storage } = await import('./storage.ts');
    process.exitCode = await storage(options);
    await endProgram();
  });

withDeployment(program.command('audit'))
  .description(
    'look at every invariant of a running or resting system; exit status 1: one is broken, 2: not all could be seen',
  )
  .option('--json', 'print the report as JSON', false)
  .option('--repair', 'repair what can be proven, and say what was left and why', false)
  .option('--direct', 'read the databases and ask the agents here, instead of the control plane that runs', false)
  .addOption(cloudOption())
  .action(async (options: DeploymentOptions & { json: boolean; repair: boolean; direct: boolean; cloud: string }) => {
    const { auditCommand } = await import('./audit.ts');
    const deployment = await deploymentOf(options);
    const named = options.data !== undefined || options.config !== undefined;
    const data = named ? deployment.dataDirectory : undefined;
    const { cloud, json, repair, direct } = options;
    process.exitCode = await auditCommand({ deployment, data, cloud, json, repair, direct });
  });

program
  .command('cells')
  .description('look at cells, and say which get new servers, through the API: list, disable, enable')
  .addArgument(new Argument('<verb>', 'what to do').choices(['list', 'disable', 'enable']))
  .argument('[name]', 'the cell (all but list)')
  .option(
    '--data <dir>',
    `data directory with a clouds.yaml (default: where OS_CLIENT_CONFIG_FILE is, else ${DEFAULTS.data})`,
  )
  .addOption(cloudOption())
  .option('--json', 'print what the API answers', false)
  .action(async (verb: string, name: string | undefined, options: CellsOptions) => {
    const { cellsCommand } = await import('./cells.ts');
    process.exitCode = await cellsCommand(verb, name, options);
  });

program
  .command('hosts')
  .description(
    'forget a host, or storage host, that will never return, with what is owed and kept there, through the API',
  )
  .addArgument(new Argument('<verb>', 'what to do').choices(['forget']))
  .argument('<name>', 'the host')
  .option(
    '--data <dir>',
    `data directory with a clouds.yaml (default: where OS_CLIENT_CONFIG_FILE is, else ${DEFAULTS.data})`,
  )
  .addOption(cloudOption())
  .option('--storage', 'the storage host of this name, where a host has it too')
  .option('--json', 'print what the API answers', false)
  .action(async (_: 'forget', name: string, options: HostsOptions) => {
    const { forgetCommand } = await import('./hosts.ts');
    process.exitCode = await forgetCommand(name, options);
  });

program
  .command('moves')
  .description('look at moves and operate them, through the API: list, show, retry, cancel, skip')
  .addArgument(new Argument('<verb>', 'what to do').choices(['list', 'show', 'retry', 'cancel', 'skip']))
  .argument('[id]', "the move, by its own id or its migration's (all but list)")
  .argument('[step]', 'name of the step at which it is stuck, as a confirmation (skip)')
  .option(
    '--data <dir>',
    `data directory with a clouds.yaml (default: where OS_CLIENT_CONFIG_FILE is, else ${DEFAULTS.data})`,
  )
  .addOption(cloudOption())
  .option('--server <id>', 'only moves of this server (list)')
  .addOption(
    new Option('--status <status>', 'only moves with this status (list)').choices([
      'active',
      'done',
      'unwound',
      'stuck',
    ]),
  )
  .option('--limit <n>', 'how many, newest first (list)', whole(1, 200), 20)
  .option('--json', 'print what the API answers', false)
  .action(async (verb: string, id: string | undefined, step: string | undefined, options: MovesOptions) => {
    const { movesCommand } = await import('./moves.ts');
    process.exitCode = await movesCommand(verb, id, step, options);
  });

program
  .command('policy')
  .description('look at rules: list what they say, check (and explain) whom one lets act; exit status 1: it does not')
  .addArgument(new Argument('<verb>', 'what to do').choices(['list', 'check']))
  .option('--policy-file <file>', 'file of rules that are not the defaults (default: none)')
  .option('--rule <name>', 'rule that is asked, such as os_compute_api:servers:create (check)')
  .option('--roles <list>', "the actor's roles, parted by commas (check)")
  .option('--project <id>', "project of the actor's token; empty: it has no scope (check; default: some project)")
  .option('--system', "the actor's token is for the system (check)", false)
  .option('--domain <id>', "domain of the actor's token (check)")
  .option('--user <id>', 'the actor (check)', 'u1')
  .option('--target-project <id>', "project of what is acted on (check; default: the actor's)")
  .option('--target-user <id>', 'user of what is acted on (check; default: the actor)')
  .option('--target <word=value...>', 'more words of what is acted on, such as visibility=public (check)')
  .option('--json', 'print JSON', false)
  .action(async (verb: 'list' | 'check', options: PolicyOptions) => {
    const { policyCommand } = await import('./policy.ts');
    process.exitCode = policyCommand(verb, options);
    await endProgram();
  });

program
  .command('simulate')
  .description('run the control plane in simulated worlds full of faults; exit status 1: something went wrong in one')
  .option('--seed <n>', 'what happens; with --schedules, in the first of them', whole(0, 2 ** 32 - 1), 1)
  .option('--schedules <n>', 'how many worlds, each with the next seed', whole(1, 100_000_000), 1)
  .option('--servers <n>', 'servers of each world', whole(1, 100_000), 2)
  .option('--cells <n>', 'cells', whole(1, 100), 2)
  .option('--hosts-per-cell <n>', 'hosts of each cell (default: as many as the servers need)', whole(1, 10_000))
  .option('--conductors <n>', 'processes of the control plane', whole(1, 20), 2)
  .option('--hours <n>', 'virtual hours in which things happen (default: one minute)', decimal(0.001, 10_000), 1 / 60)
  .option('--faults <n>', 'faults per operation (with more than 8 servers: per host and hour)', decimal(0, 100), 0.6)
  .option(
    '--ops <list>',
    'of the events that the seed makes only these, such as 0,3-5: replays a shortened failure',
    eventNumbers,
  )
  .addOption(
    new Option('--without <part>', 'switch a part of the safety off, to see that this is found').choices(SAFETIES),
  )
  .option('--threads <n>', 'threads for --schedules (default: as many as there are processors)', whole(1, 64))
  .option('--trace', 'print everything that happens', false)
  .option('--json', 'print the result as JSON', false)
  .action(async ({ hostsPerCell, without, threads, ...options }: SimulateFlags) => {
    for (const name of ['ops', 'trace'] as const) {
      if (options.schedules > 1 && options[name]) program.error(`error: --${name} is for one schedule, not for many`);
    }
    const { simulate } = await import('../simulation/command.ts');
    const given = { hostsPerCell: hostsPerCell ?? null, without: without ?? null, threads: threads ?? null };
    process.exitCode = await simulate({ ...options, ...given });
    await endProgram();
  });

program
  .command('quarantine')
  .description('guests that nobody owns, and files of which a host has no record: list, release, destroy')
  .addArgument(new Argument('<verb>', 'what to do').choices(['list', 'release', 'destroy']))
  .argument('[id]', 'what list shows first (all but list)')
  .option(
    '--data <dir>',
    `data directory with a clouds.yaml (default: where OS_CLIENT_CONFIG_FILE is, else ${DEFAULTS.data})`,
  )
  .addOption(cloudOption())
  .option('--json', 'print one JSON object per guest (list)', false)
  .action(async (verb: string, id: string | undefined, options: QuarantineOptions) => {
    const { quarantineCommand } = await import('./quarantine.ts');
    process.exitCode = await quarantineCommand(verb, id, options);
  });

program
  .command('version')
  .description('print the version')
  .option('--json', 'print it as JSON', false)
  .action(({ json }: { json: boolean }) => {
    process.stdout.write(
      json ? `${JSON.stringify({ version: VERSION, node: process.versions.node })}\n` : `crosscell ${VERSION}\n`,
    );
  });

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`crosscell: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof ConfigError || error instanceof NoSuchEvents ? 2 : 1;
  await endProgram();
}
