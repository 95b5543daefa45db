// A second opinion on an uploaded qcow2, from the program that will read it: `qemu-img info`.
//
// Theory of operation. The header has been judged before (model/qcow2.ts), so the file names no other file. qemu-img
// runs with its arguments as a list, without a shell, with a limit on time, memory, processor time and output, and with
// the format given, so that nothing is probed. Where qemu-img is not installed (a control plane whose hosts are
// elsewhere), the header's judgement stands alone. What qemu-img refuses, or cannot finish, is refused here.

import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { jsonOf } from '../../lib/answers.ts';

const TIMEOUT_MS = 30_000;
const OUTPUT_LIMIT = 1024 * 1024;
const MEMORY_BYTES = 1024 ** 3;
const CPU_SECONDS = 30;

/** null: nothing is wrong (or nobody is there to ask). Otherwise one sentence. */
export async function inspectQcow2(file: string, virtualBytes: number): Promise<string | null> {
  const qemuImg = await findProgram('qemu-img');
  if (!qemuImg) return null;
  const prlimit = await findProgram('prlimit');
  const info = [qemuImg, 'info', '--output=json', '-f', 'qcow2', resolve(file)];
  const limited = prlimit ? [prlimit, `--as=${MEMORY_BYTES}`, `--cpu=${CPU_SECONDS}`, '--', ...info] : info;
  const output = await run(limited);
  return output === null ? 'The qcow2 image cannot be read by qemu-img.' : contradiction(output, virtualBytes);
}

/** Standard output of the command; null when it fails or goes beyond a limit. */
function run([program, ...args]: readonly string[]): Promise<string | null> {
  const options = {
    timeout: TIMEOUT_MS,
    maxBuffer: OUTPUT_LIMIT,
    killSignal: 'SIGKILL',
    env: { LC_ALL: 'C' },
  } as const;
  return new Promise((done) => {
    execFile(program ?? '', args, options, (error, stdout) => done(error ? null : stdout));
  });
}

/** What of qemu-img's description is not as it must be; null: nothing. */
export function contradiction(output: string, virtualBytes: number): string | null {
  const info = parseObject(output);
  if (!info) return 'The qcow2 image cannot be read by qemu-img.';
  const specific = info['format-specific'];
  const data = isObject(specific) && isObject(specific['data']) ? specific['data'] : {};
  if (info['format'] !== 'qcow2') return 'The image is declared as qcow2 but qemu-img sees another format.';
  if ('backing-filename' in info || 'full-backing-filename' in info) return 'The qcow2 image has a backing file.';
  if ('data-file' in data || data['data-file-raw'] === true)
    return 'The qcow2 image keeps its data in an external file.';
  if (info['encrypted'] === true || 'encrypt' in data) return 'The qcow2 image is encrypted.';
  if (data['corrupt'] === true) return 'The qcow2 image is marked corrupt.';
  if (info['virtual-size'] !== virtualBytes) return 'The qcow2 image has a virtual size that qemu-img sees otherwise.';
  return null;
}

function parseObject(text: string): Record<string, unknown> | null {
  const value = jsonOf(text);
  return isObject(value) ? value : null;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Absolute path of a program in PATH (or where system programs usually are); null: not installed. */
async function findProgram(name: string): Promise<string | null> {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/bin', '/usr/sbin', '/sbin'];
  for (const directory of directories.filter((each) => each.startsWith('/'))) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  return null;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    // Absent or not ours to run: the next directory is tried.
    return false;
  }
}
