// A program of somebody else's, run to its end.
import { execFile } from 'node:child_process';

export type Command = readonly [program: string, ...args: string[]];

export interface Ended {
  readonly ok: boolean;
  /** Its exit status; null when there is none: not started, or killed at its limit. */
  readonly status: number | null;
  /** All that it said, on both streams; of one that could not be started, why. */
  readonly output: string;
}

export interface RunOptions {
  readonly limitMs: number;
  readonly cwd?: string;
  /** In the place of this process's environment. */
  readonly env?: NodeJS.ProcessEnv;
}

const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

export function run([program, ...args]: Command, { limitMs, ...rest }: RunOptions): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { ...rest, timeout: limitMs, maxBuffer: MAX_OUTPUT_BYTES };
    execFile(program, args, options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ ok: error === null, status, output: `${stdout}${stderr}`.trim() || (error?.message ?? '') });
    });
  });
}

/** Why Go of that version or a newer one is not here; null: it is. */
export async function whyNoGo(
  lowest: readonly [major: number, minor: number],
  limitMs: number,
): Promise<string | null> {
  const said = await run(['go', 'version'], { limitMs });
  const [, major = '0', minor = '0'] = /go(\d+)\.(\d+)/.exec(said.output) ?? [];
  const [least, lesser] = lowest;
  const enough = Number(major) > least || (Number(major) === least && Number(minor) >= lesser);
  return said.ok && enough ? null : `there is no Go of ${lowest.join('.')} or newer`;
}
