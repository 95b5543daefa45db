// Running other programs, for the guest's build and its journal reader: always an argument array, never a
// shell, always a time limit and an output limit.

import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execFileAsync = promisify(execFile);

/** A sentence for the person who started the program: what is missing or what failed. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
}

export type RunOptions = {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds until the program is killed; default 60 s. */
  readonly limitMs?: number;
  /** Most bytes of output that are taken; default 64 MiB. */
  readonly maxBytes?: number;
  /** Exit statuses that count as success; default 0 alone (e2fsck says 1 for "errors corrected"). */
  readonly accept?: readonly number[];
};

type ExecFailure = Error & { code?: number | string; killed?: boolean; stdout?: Buffer; stderr?: Buffer };

function isExecFailure(error: unknown): error is ExecFailure {
  return error instanceof Error && 'stderr' in error;
}

/** Runs a program to its end and gives its standard output. Throws GuestError with its last words otherwise. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Buffer> {
  const limitMs = options.limitMs ?? 60_000;
  try {
    const { stdout } = await execFileAsync(program, [...args], {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, LC_ALL: 'C', ...options.env },
      timeout: limitMs,
      killSignal: 'SIGKILL',
      maxBuffer: options.maxBytes ?? 64 * 1024 * 1024,
      encoding: 'buffer',
    });
    return stdout;
  } catch (error) {
    if (!isExecFailure(error)) throw error;
    if (typeof error.code === 'number' && options.accept?.includes(error.code)) return error.stdout ?? Buffer.alloc(0);
    if (error.code === 'ENOENT') throw new GuestError(`${program} is not installed`);
    const why =
      error.killed === true ? `took longer than ${limitMs} ms or said too much` : `failed (${error.code ?? 'killed'})`;
    const words = String(error.stderr ?? '')
      .trim()
      .split('\n')
      .slice(-3)
      .join(' / ');
    throw new GuestError(`${program} ${why}${words === '' ? '' : `: ${words}`}`);
  }
}

/** Directories of system tools that an ordinary user's PATH may lack. */
const SYSTEM_DIRECTORIES = ['/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/** The path of a program, also where an ordinary user's PATH does not look; GuestError names the package otherwise. */
export async function findTool(name: string, debianPackage: string, also = SYSTEM_DIRECTORIES): Promise<string> {
  const directories = [...(process.env['PATH'] ?? '').split(':'), ...also];
  for (const directory of directories) {
    if (directory === '') continue;
    const path = join(directory, name);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new GuestError(`${name} is not installed: install the package ${debianPackage}`);
}

/** What running a guest and reading its disk takes, and the Debian package that has it. */
const GUEST_TOOLS = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-img', 'qemu-utils'],
  ['qemu-nbd', 'qemu-utils'],
  ['mke2fs', 'e2fsprogs'],
  ['e2fsck', 'e2fsprogs'],
  ['debugfs', 'e2fsprogs'],
] as const;

/** Why no real guest can run on this machine, as a sentence; null when one can. */
export async function whyNoGuests(): Promise<string | null> {
  if ((process.env['CROSSCELL_WITHOUT_QEMU'] ?? '') !== '') return 'CROSSCELL_WITHOUT_QEMU is set';
  if (process.arch !== 'x64') return `QEMU guests are x86_64, and this machine is ${process.arch}`;
  for (const [tool, debianPackage] of GUEST_TOOLS) {
    try {
      await findTool(tool, debianPackage);
    } catch (error) {
      if (error instanceof GuestError) return error.message;
      throw error;
    }
  }
  return null;
}
