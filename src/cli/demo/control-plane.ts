// The control plane as a child process: `crosscell up`, which starts the agents too.
//
// It is its own process group, so that Ctrl-C at a terminal reaches the demo alone, which stops it in order. After
// `kill` (SIGKILL) the agents and guests live on; `start` begins again on the same data.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../lib/clock.ts';
import { DemoError } from './place.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;

export const crosscellArguments = (directory: string, command: string): string[] => [
  '--disable-warning=ExperimentalWarning',
  MAIN,
  command,
  ...['--data', directory],
  ...['--config', join(directory, 'demo.yaml')],
  '--json',
];

export class ControlPlane {
  readonly #directory: string;
  readonly #output: string;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
    this.#output = join(directory, 'control-plane.err');
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  /** Resolves with the API's base URL when it serves. @throws DemoError when it does not come up */
  async start(): Promise<string> {
    const errors = openSync(this.#output, 'a', 0o600);
    const args = [...crosscellArguments(this.#directory, 'up'), '--no-image'];
    const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', 'pipe', errors] });
    closeSync(errors);
    this.#child = child;
    const exited = new Promise<'exited'>((resolve) => {
      child.once('exit', () => resolve('exited'));
      child.once('error', () => resolve('exited'));
    });
    this.#exited = exited.then(() => {
      if (this.#child === child) this.#child = null;
    });
    const serves = new Promise<string>((resolve) => {
      if (child.stdout) createInterface({ input: child.stdout }).once('line', resolve);
    });
    const limit = new AbortController();
    const tooLong = systemClock.sleep(START_LIMIT_MS, limit.signal).then(() => 'late' as const);
    const first = await Promise.race([serves, exited, tooLong]);
    limit.abort();
    if (first === 'exited' || first === 'late') {
      const words = (await readFile(this.#output, 'utf8')).trim().split('\n').slice(-3).join(' / ');
      throw new DemoError(`the control plane ${first === 'late' ? 'does not answer' : 'ended at its start'}: ${words}`);
    }
    return (JSON.parse(first) as { endpoint: string }).endpoint;
  }

  /** As a crash: SIGKILL. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** Has it stop agents and guests and end. False when it had to be killed. */
  async stop(): Promise<boolean> {
    const child = this.#child;
    if (child === null) return true;
    child.kill('SIGINT');
    const limit = new AbortController();
    const tooLong = systemClock.sleep(STOP_LIMIT_MS, limit.signal).then(() => 'late' as const);
    const ended = await Promise.race([this.#exited, tooLong]);
    limit.abort();
    if (ended === 'late') {
      await this.kill();
      return false;
    }
    return true;
  }
}
