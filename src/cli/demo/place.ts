// The demo's directory: emptied at its start, but only when it is the demo's own.
//
// A marker file says whose it is and which process made it. A directory with other things in it is not touched. What a
// demo that was killed has left running is ended first: only programs of this system whose command line names a file
// in this very directory.
//   <data>/demo.json   marker          <data>/demo.yaml   configuration      <data>/report.json   the result
//   <data>/bin/        hypervisors     <data>/tmp/        copies of disks while they are read
//   the rest is the control plane's: see compose.ts
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { identify, isAlive, listProcesses, type ProcessEntry, signal } from '../../host/qemu/proc.ts';
import { systemClock } from '../../lib/clock.ts';

const MARKER = 'demo.json';
const END_LIMIT_MS = 10_000;

/** A sentence for the person at the terminal: the demo cannot run here. */
export class DemoError extends Error {
  override readonly name = 'DemoError';
}

/** Makes the directory empty and the demo's own; returns its absolute path. @throws DemoError when it is not ours */
export async function claimDirectory(data: string): Promise<string> {
  const directory = resolve(data);
  const entries = existsSync(directory) ? await readdir(directory) : [];
  if (entries.length > 0) await checkMarker(directory, entries);
  await endLeftovers(directory);
  for (const entry of entries) await rm(join(directory, entry), { recursive: true, force: true });
  for (const made of [directory, join(directory, 'bin')]) {
    await mkdir(made, { recursive: true });
    // The guests' unprivileged user has to pass.
    await chmod(made, 0o711);
  }
  await mkdir(join(directory, 'tmp'), { mode: 0o700 });
  await writeFile(join(directory, MARKER), `${JSON.stringify({ demo: identify(process.pid) })}\n`);
  return directory;
}

async function checkMarker(directory: string, entries: readonly string[]): Promise<void> {
  if (!entries.includes(MARKER)) {
    throw new DemoError(`${directory} is not empty and not a demo's: name another directory with --data`);
  }
  const { demo } = JSON.parse(await readFile(join(directory, MARKER), 'utf8')) as {
    demo?: { pid?: unknown; startTime?: unknown };
  };
  const { pid, startTime } = demo ?? {};
  if (typeof pid === 'number' && typeof startTime === 'string' && isAlive({ pid, startTime })) {
    throw new DemoError(`another demo (process ${pid}) runs in ${directory}`);
  }
}

/** Programs of this system that work in the directory: control plane, agents, QEMU and its tools. */
export async function processesOf(directory: string): Promise<ProcessEntry[]> {
  const prefix = `${directory}/`;
  return (await listProcesses()).filter(
    ({ pid, argv }) =>
      pid !== process.pid &&
      argv.some((argument) => argument.startsWith(prefix)) &&
      (argv.some((argument) => argument.endsWith('/cli/main.ts')) || isHypervisor(directory, argv[0] ?? '')),
  );
}

const isHypervisor = (directory: string, program: string): boolean =>
  basename(program).startsWith('qemu-') || program.startsWith(join(directory, 'bin'));

/** Kills what still works in the directory; returns the command lines of what that was. */
export async function endLeftovers(directory: string): Promise<string[]> {
  const found = await processesOf(directory);
  const giveUp = systemClock.now() + END_LIMIT_MS;
  for (const each of found) signal(each, 'SIGKILL');
  while (found.some((each) => isAlive(each))) {
    if (systemClock.now() > giveUp) throw new DemoError('processes of an earlier demo do not end');
    await systemClock.sleep(20);
  }
  return found.map(({ argv }) => argv.join(' ').slice(0, 200));
}
