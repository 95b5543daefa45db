// Runs QEMU's helper programs (qemu-img and the like) to their end.
//
// Theory of operation. Arguments go as an array, never through a shell; output is limited; a time limit or an abort
// kills the program with SIGKILL, and the promise settles only after it has exited, so that whoever cancelled may
// delete its files.
import { spawn } from 'node:child_process';
import { HypervisorError } from '../hypervisor.ts';
import type { Identity } from './privileges.ts';

export interface RunOptions {
  readonly identity: Identity | null;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  readonly cwd?: string;
  /** Called with what the program prints, as it comes; then nothing is returned. */
  readonly onOutput?: (text: string) => void;
}

const OUTPUT_LIMIT = 1024 * 1024;
const ERROR_LIMIT = 4096;
const ERROR_LINES = 5;

/** QEMU's programs need a path to their own parts and nothing of the agent's environment. */
export const PROGRAM_ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' };

/** The program's standard output; HypervisorError with its last words when it fails, cannot start or takes too long. */
export function run(program: string, args: readonly string[], options: RunOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted();
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: PROGRAM_ENVIRONMENT,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...options.identity,
    });
    let output = '';
    let errors = '';
    let obstacle: string | null = null;
    const stop = (why: string) => {
      obstacle ??= why;
      child.kill('SIGKILL');
    };
    const onAbort = () => stop('it was cancelled');
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const timer =
      options.timeoutMs === undefined ? undefined : setTimeout(() => stop('it took too long'), options.timeoutMs);
    const settle = (failure: string | null) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
      if (failure === null) resolve(output);
      else reject(new HypervisorError(failure));
    };
    const name = program.slice(program.lastIndexOf('/') + 1);
    child.once('error', (error) => settle(`${name} cannot be run: ${error.message}`));
    // That is told by 'error', and where no descriptor was free there is nothing to read from either.
    if (child.pid === undefined) return;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (options.onOutput) options.onOutput(text);
      else output += text;
      if (output.length > OUTPUT_LIMIT) stop('it printed too much');
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-ERROR_LIMIT);
    });
    child.once('close', (code, killedBy) => {
      if (code === 0 && obstacle === null) settle(null);
      else settle(`${name} failed: ${obstacle ?? (lastWords(errors) || `${killedBy ?? `status ${code}`}`)}`);
    });
  });
}

/** The last few lines that a program said, as one line. */
export function lastWords(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(-ERROR_LINES)
    .join('; ');
}
