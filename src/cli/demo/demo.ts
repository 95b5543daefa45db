// `crosscell demo`: the whole system, driven through six scenes, with witnesses that believe nothing it says of itself.
//
// Theory of operation. The demo empties its directory, starts the control plane as a child process, sets the system up
// and plays the scenes one after the other; every step is asked for through the public HTTP API. What it claims it has
// seen for itself: disks are read from outside, guests are looked at as processes. A scene that fails does not keep the
// next ones from being played. However it ends (done, failed, Ctrl-C), control plane, agents and guests are stopped,
// and what is left then counts as leaked. The last line and the exit status say whether all of it held.
// Not handled: SIGKILL of the demo itself; the next demo in the same directory ends what is left.
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { ApiClient } from '../client.ts';
import { GUEST_IMAGE } from '../guest-image.ts';
import { openSecrets } from '../secrets.ts';
import { Cloud } from './cloud.ts';
import { ControlPlane } from './control-plane.ts';
import { Disks } from './disks.ts';
import { Hypervisors } from './hypervisors.ts';
import { claimDirectory, DemoError, endLeftovers } from './place.ts';
import { AGGREGATES, BIG, configText, hostsOf, SMALL } from './plan.ts';
import { findMeans, type Means, makeRawImage } from './preflight.ts';
import { type Printer, printerTo, seconds, silentPrinter } from './printer.ts';
import { lastLine, type Report } from './report.ts';
import { auditScene } from './scenes/audit.ts';
import { confirmScene } from './scenes/confirm.ts';
import { crashScene } from './scenes/crash.ts';
import { failureScene } from './scenes/failure.ts';
import { revertScene } from './scenes/revert.ts';
import { stoppedScene } from './scenes/stopped.ts';
import { remove, Servers } from './servers.ts';
import { Interrupted } from './wait.ts';
import { Watch } from './watch.ts';
import type { Scene, World } from './world.ts';

const SCENES: readonly Scene[] = [confirmScene, revertScene, stoppedScene, failureScene, crashScene, auditScene];

export interface DemoOptions {
  /** Directory that is emptied, if it is a demo's, and filled. */
  readonly data: string;
  /** Absent: QEMU where it can be had, simulated hosts otherwise. */
  readonly hypervisor?: 'qemu' | 'simulated';
  /** Print the report instead of what happens. */
  readonly json: boolean;
}

/** Resolves with the exit status: 0 only if every claim held and nothing was lost or leaked; 2: it could not begin. */
export async function demo(options: DemoOptions): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, interrupt);
  const print = options.json ? silentPrinter : printerTo(process.stdout);
  try {
    return await run(options, print, interrupted.signal);
  } catch (error) {
    if (!(error instanceof DemoError)) throw error;
    process.stderr.write(`crosscell: ${error.message}\n`);
    return 2;
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}

async function run(options: DemoOptions, print: Printer, signal: AbortSignal): Promise<number> {
  const directory = await claimDirectory(options.data);
  const means = await findMeans(options.hypervisor, (line) => print.say(line));
  const report = newReport(directory, means.hypervisor);
  const began = performance.now();
  const control = new ControlPlane(directory);
  const watch = new Watch(directory, means.hypervisor);
  let trouble: string | null = null;
  try {
    const w = await setUp({ directory, means, control, watch, print, report, signal });
    for (const scene of SCENES) await play(w, scene);
  } catch (error) {
    if (error instanceof Interrupted) trouble = 'interrupted';
    else {
      trouble = messageOf(error);
      report.claims.push({ scene: 0, claim: 'the demo can go on', held: false, detail: trouble });
    }
  } finally {
    await tearDown(control, directory, watch, print, report);
  }
  return finish(directory, options, report, print, trouble, performance.now() - began);
}

interface Parts {
  readonly directory: string;
  readonly means: Means;
  readonly control: ControlPlane;
  readonly watch: Watch;
  readonly print: Printer;
  readonly report: Report;
  readonly signal: AbortSignal;
}

async function setUp({ directory, means, control, watch, print, report, signal }: Parts): Promise<World> {
  const { hypervisor } = means;
  print.heading(`Two cells with two ${hypervisor === 'qemu' ? 'QEMU' : 'simulated'} hosts each`);
  if (means.hypervisor === 'simulated') {
    if (means.reason !== null) print.say(`no real guests here: ${means.reason}`);
    print.say('the hosts are simulated: what is said of disks rests on the digests that the hosts compute');
  }
  const hypervisors = new Hypervisors(directory, hypervisor);
  await hypervisors.install();
  await writeFile(join(directory, 'demo.yaml'), configText(directory, hypervisor, await freePort()));
  watch.start();
  const startedAt = performance.now();
  const url = await control.start();
  print.say(`the control plane serves ${url}, ${seconds(performance.now() - startedAt)} after its start`);

  const { adminPassword } = await openSecrets(directory, null);
  const api = new ApiClient({ url, user: 'admin', password: adminPassword, project: 'admin' });
  await api.login();
  const cloud = new Cloud(api, signal, () => control.isRunning);
  for (const flavor of [SMALL, BIG]) await cloud.createFlavor(flavor);
  for (const { name, cell, hardware } of AGGREGATES) await cloud.createAggregate(name, { hardware }, hostsOf(cell));
  const image =
    means.hypervisor === 'qemu'
      ? await cloud.uploadImage(GUEST_IMAGE, 'qcow2', means.image)
      : await cloud.uploadImage('simulated', 'raw', await makeRawImage(directory));
  for (const { name, vcpus, memoryMb, hardware } of [SMALL, BIG]) {
    print.say(
      `flavor ${name}: ${vcpus} vCPU, ${memoryMb} MiB, on ${hardware} hardware (${hardware === 'old' ? 'cell1' : 'cell2'})`,
    );
  }
  const disks = new Disks(directory);
  const servers = new Servers(image);
  return { directory, hypervisor, cloud, control, hypervisors, watch, disks, servers, print, report, signal, scene: 0 };
}

/** Plays one scene; what goes wrong in it is written down and does not keep the next one from being played. */
async function play(w: World, scene: Scene): Promise<void> {
  if (w.signal.aborted) throw new Interrupted();
  w.scene = scene.number;
  w.print.heading(`Scene ${scene.number}: ${scene.title}`);
  const began = performance.now();
  let error: string | null = null;
  try {
    await scene.play(w);
  } catch (caught) {
    if (w.signal.aborted) throw new Interrupted();
    error = messageOf(caught);
    w.print.verdict(false, `the scene ended early: ${error}`);
  }
  const held = error === null && w.report.claims.every((each) => each.scene !== scene.number || each.held);
  const durationMs = Math.round(performance.now() - began);
  w.report.scenes.push({ number: scene.number, title: scene.title, held, durationMs, error });
  if (error !== null) await recover(w);
  w.print.say(`${held ? 'the scene held' : 'THE SCENE DID NOT HOLD'} (${seconds(durationMs)})`);
}

/** After a scene that broke off, the next one finds working hypervisors, a control plane, and no server of this one. */
async function recover(w: World): Promise<void> {
  await w.hypervisors.install();
  if (!w.control.isRunning) await w.control.start();
  for (const server of w.servers.taken()) {
    if ((await w.cloud.serverIfThere(server.id)) !== null) await remove(w, server);
  }
}

async function tearDown(
  control: ControlPlane,
  directory: string,
  watch: Watch,
  print: Printer,
  report: Report,
): Promise<void> {
  print.heading('The end: control plane, agents and guests are stopped');
  if (!(await control.stop())) report.leaked.push('the control plane did not end when it was told to');
  await watch.stop();
  report.watch = {
    looks: watch.looks,
    longestPauseMs: watch.longestPauseMs,
    runs: watch.runs,
    breaches: watch.breaches,
  };
  const left = await endLeftovers(directory);
  report.leaked.push(...left.map((each) => `still running at the end: ${each}`));
  print.verdict(left.length === 0, 'nothing is left running');
}

async function finish(
  directory: string,
  options: DemoOptions,
  report: Report,
  print: Printer,
  trouble: string | null,
  ms: number,
): Promise<number> {
  report.durationMs = Math.round(ms);
  const { ok, line } = lastLine(report, trouble);
  report.verdict = ok ? 'ok' : 'failed';
  report.lastLine = line;
  const text = `${JSON.stringify(report, null, 2)}\n`;
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'report.json'), text);
  if (options.json) {
    process.stdout.write(text);
    return ok ? 0 : 1;
  }
  for (const { scene, claim, held, detail } of report.claims) {
    if (!held) print.say(`broken in scene ${scene}: ${claim}${detail === null ? '' : `: ${detail}`}`);
  }
  for (const { number, error } of report.scenes) if (error !== null) print.say(`scene ${number} broke off: ${error}`);
  for (const each of report.lost) print.say(`lost: ${each}`);
  for (const each of report.leaked) print.say(`leaked: ${each}`);
  if (!ok) print.say(`logs: ${report.logs}`);
  const { boots, guests, moves, journals } = report.waited;
  print.say(
    `waited for boots ${seconds(boots)}, guests of moved servers ${seconds(guests)}, moves ${seconds(moves)}, journals ${seconds(journals)}`,
  );
  print.say(`${seconds(ms)} in all; report: ${join(directory, 'report.json')}`);
  process.stdout.write(`${line}\n`);
  return ok ? 0 : 1;
}

const newReport = (directory: string, hypervisor: 'qemu' | 'simulated'): Report => ({
  verdict: 'failed',
  lastLine: '',
  hypervisor,
  startedAt: new Date(systemClock.now()).toISOString(),
  durationMs: 0,
  waited: { boots: 0, guests: 0, moves: 0, journals: 0 },
  scenes: [],
  claims: [],
  moves: [],
  watch: { looks: 0, longestPauseMs: 0, runs: 0, breaches: [] },
  audit: null,
  lost: [],
  leaked: [],
  logs: `${join(directory, 'logs')} and ${join(directory, 'control-plane.err')}`,
});

/** A port that is free now; the control plane keeps it across its restart. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve());
  });
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new DemoError('no free port');
  return address.port;
}
