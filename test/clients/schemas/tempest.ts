// The answers that Tempest expects, as JSON schemas by request: collected from the Tempest that is installed (collect.py),
// never kept in the tree.
//
// Tempest's formats say little: as its own validator, this one looks at addresses and times, and lets UUIDs and URIs be
// any text.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Ajv, type ValidateFunction } from 'ajv';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const SCRIPT = join(import.meta.dirname, 'collect.py');
/** Where Debian puts it, and for which Python. */
const PACKAGE = '/usr/lib/python3/dist-packages/tempest';
const PYTHON = '/usr/bin/python3';
const LIMIT_MS = 120_000;

/** A request of Tempest's, and the schema of its answer. */
export interface ExpectedCall {
  readonly service: 'compute' | 'volume';
  readonly method: string;
  /** Segments behind the service's base; null: an id. */
  readonly path: readonly (string | null)[];
  /** The one key of the body of an action; null: no action. */
  readonly action: string | null;
  /** Microversions (their N); `to` null: from there on. */
  readonly from: number;
  readonly to: number | null;
  readonly schema: string;
}

export interface Expectations {
  readonly calls: readonly ExpectedCall[];
  /** Every name of a schema, with the name that calls use for it. */
  readonly names: Readonly<Record<string, string>>;
  /** Null when the answer is as expected, else what is wrong. `body` undefined: none. */
  mismatch(schema: string, status: number, body: unknown): string | null;
}

interface Collected {
  readonly version: string;
  readonly schemas: Readonly<Record<string, { readonly status: readonly number[]; readonly body: object | null }>>;
  readonly names: Readonly<Record<string, string>>;
  readonly calls: readonly ExpectedCall[];
}

/** Why there is nothing to compare with on this machine; false: there is. */
export const whyNoTempest: string | false = existsSync(PACKAGE) ? false : 'Tempest is not installed';

/** Null without Tempest. */
export async function expectations(): Promise<Expectations | null> {
  if (whyNoTempest !== false) return null;
  const { calls, names, schemas } = await collected();
  const ajv = new Ajv({ strict: false, unicodeRegExp: false, logger: false, formats: FORMATS });
  const compiled = new Map<string, ValidateFunction>();
  return {
    calls,
    names,
    mismatch(name, status, body) {
      const schema = schemas[name];
      if (schema === undefined) throw new Error(`no schema ${name}`);
      if (!schema.status.includes(status)) return `${name}: status ${status} instead of ${schema.status.join(', ')}`;
      if (schema.body === null) return body === undefined || body === '' ? null : `${name}: a body where there is none`;
      const check = compiled.get(name) ?? ajv.compile(schema.body);
      compiled.set(name, check);
      return check(body)
        ? null
        : `${name}: ${ajv.errorsText(check.errors)} (${JSON.stringify(check.errors?.[0]?.params)})`;
    },
  };
}

const FORMATS = {
  ipv4: /^([0-9]{1,3}\.){3}[0-9]{1,3}$/,
  ipv6: /^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/,
  'iso8601-date-time': (text: string) => !Number.isNaN(Date.parse(text)),
  base64: /^[A-Za-z0-9+/]*={0,2}$/,
  uuid: true,
  uri: true,
} as const;

/** Collecting costs a second, and the same Tempest says the same: it is kept with what else can be made again. */
async function collected(): Promise<Collected> {
  const key = createHash('sha256').update(await readFile(SCRIPT));
  key.update(String((await stat(PACKAGE)).mtimeMs));
  const directory = join(ROOT, 'var', 'cache', 'tempest');
  const file = join(directory, `${key.digest('hex').slice(0, 32)}.json`);
  if (!existsSync(file)) {
    const options = { timeout: LIMIT_MS, maxBuffer: 64 * 1024 * 1024 };
    const { stdout } = await promisify(execFile)(PYTHON, ['-W', 'ignore', SCRIPT], options);
    await mkdir(directory, { recursive: true });
    // Tests that run at the same time may all collect: the last one to be done wins, with the same.
    const part = `${file}.${process.pid}.part`;
    await writeFile(part, stdout);
    await rename(part, file);
  }
  return JSON.parse(await readFile(file, 'utf8')) as Collected;
}
