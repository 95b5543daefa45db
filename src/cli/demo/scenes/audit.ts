// Scene 6: the auditor looks at the whole system; then the witness beside it has its say.
//
// The auditor is the same program that an operator runs, as a process of its own; it asks the running control plane.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { AuditReport, InvariantReport } from '../../../audit/audit.ts';
import { crosscellArguments } from '../control-plane.ts';
import { HOSTS } from '../plan.ts';
import { remove } from '../servers.ts';
import { claim, type Scene, SceneFailed, type World } from '../world.ts';

export const auditScene: Scene = { number: 6, title: "the auditor's verdict over the whole system", play };

const LIMIT_MS = 60_000;
const OUTPUT_LIMIT = 16 * 2 ** 20;
const NAME_WIDTH = 26;
const run = promisify(execFile);

async function play(w: World): Promise<void> {
  const report = await audit(w);
  w.report.audit = report;
  const { servers, guests, hosts, cells } = report.counts;
  w.print.say(`servers: ${servers}, guests: ${guests}, hosts: ${hosts}, cells: ${cells}`);
  for (const invariant of report.invariants) judge(w, invariant);
  const count = report.owed.length;
  claim(w, 'nothing is owed to any host', count === 0, report.owed.map((debt) => debt.what).join('; '));

  const { watch } = w;
  claim(
    w,
    `at no time did two guests of one server run: ${watch.looks} looks at all guests from outside`,
    watch.breaches.length === 0,
    watch.breaches.join('; '),
  );
  for (const server of w.servers.booted()) {
    // What earlier scenes have left, because they failed, is taken away too.
    if ((await w.cloud.serverIfThere(server.id)) !== null) await remove(w, server);
  }
  const used = [...(await w.cloud.usage()).values()];
  const left = await w.disks.guestDirectories(HOSTS.map((host) => host.name));
  w.report.leaked.push(...left);
  claim(
    w,
    'with its last server deleted the system is as empty as at its start: no disk on any host, no room in use',
    left.length === 0 && used.every((each) => each.vcpus === 0 && each.memoryMb === 0 && each.diskGb === 0),
    left.join('; '),
  );
}

function judge(w: World, { name, sentence, verdict, breaches, unknown }: InvariantReport): void {
  const text = `${name.padEnd(NAME_WIDTH)} ${sentence}`;
  w.report.leaked.push(...breaches.map((breach) => `${name}: ${breach.what}`));
  claim(w, text, verdict === 'held', [...breaches.map((breach) => breach.what), ...unknown].join('; '));
}

/** Its exit status says the verdict, which stands in its report too; only a run without a report is a failure. */
async function audit(w: World): Promise<AuditReport> {
  const args = crosscellArguments(w.directory, 'audit');
  const options = { timeout: LIMIT_MS, maxBuffer: OUTPUT_LIMIT, signal: w.signal };
  const { stdout, stderr } = await run(process.execPath, args, options).catch(
    (error: { stdout?: string; stderr?: string; message: string }) => ({
      stdout: error.stdout ?? '',
      stderr: error.stderr ?? error.message,
    }),
  );
  if (!stdout.startsWith('{')) throw new SceneFailed(`the auditor did not report: ${stderr.trim().slice(0, 500)}`);
  return JSON.parse(stdout) as AuditReport;
}
