// V36: the bodies of the resize and migrate actions, judged as Nova's schemas do.
//
// Theory of operation. Input is any JSON value; the outcome is the request in our words or a 400 with the sentence of
// Nova's validator. Sources: nova/api/openstack/compute/schemas/servers.py:resize, migrate_server.py:migrate. Before
// microversion 2.56 the value of `migrate` is ignored, as it is in Nova, where no schema looks at it.
import { checkHostName, MAX_NAME } from './names.ts';
import type { Refusal } from './refusal.ts';
import { badRequest } from './refusal.ts';

export type Parsed<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const ok = <T>(value: T): Parsed<T> => ({ kind: 'ok', value });
const no = (refusal: Refusal): Parsed<never> => ({ kind: 'refused', refusal });

type JsonObject = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A JSON value as text, cut to what a message can bear. */
function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return text.length <= 300 ? text : `${text.slice(0, 300)}…`;
}

const invalid = (field: string, value: unknown, reason: string): Parsed<never> =>
  no(badRequest(`Invalid input for field/attribute ${field}. Value: ${shown(value)}. ${reason}`));

/** The refusal of the first key that is not in `allowed`, null if there is none. */
function unexpected(field: string, value: JsonObject, allowed: readonly string[]): Parsed<never> | null {
  const extra = Object.keys(value).filter((key) => !allowed.includes(key));
  if (extra.length === 0) return null;
  const names = extra
    .slice(0, 5)
    .map((key) => `'${shown(key)}'`)
    .join(', ');
  const verb = extra.length === 1 ? 'was' : 'were';
  return invalid(field, value, `Additional properties are not allowed (${names} ${verb} unexpected)`);
}

export interface ResizeBody {
  readonly flavorRef: string;
  /** null: not said. */
  readonly diskConfig: 'AUTO' | 'MANUAL' | null;
}

const DISK_CONFIG = 'OS-DCF:diskConfig';

/** The value of `resize` in `{"resize": {"flavorRef": …, "OS-DCF:diskConfig": …}}`. */
export function parseResizeBody(value: unknown): Parsed<ResizeBody> {
  if (!isObject(value)) return invalid('resize', value, `${shown(value)} is not of type 'object'`);
  const extra = unexpected('resize', value, ['flavorRef', DISK_CONFIG]);
  if (extra !== null) return extra;
  if (!Object.hasOwn(value, 'flavorRef')) return invalid('resize', value, "'flavorRef' is a required property");
  const ref = value.flavorRef;
  if (typeof ref !== 'string' && !Number.isInteger(ref)) {
    return invalid('flavorRef', ref, `${shown(ref)} is not of type 'string', 'integer'`);
  }
  if (ref === '') return invalid('flavorRef', ref, "'' is too short");
  // Ours: no flavor has a longer id, so a longer reference is not looked up.
  if (String(ref).length > MAX_NAME) return invalid('flavorRef', ref, `'${shown(ref)}' is too long`);
  const disk = Object.hasOwn(value, DISK_CONFIG) ? value[DISK_CONFIG] : null;
  if (Object.hasOwn(value, DISK_CONFIG) && disk !== 'AUTO' && disk !== 'MANUAL') {
    return invalid(DISK_CONFIG, disk, `${shown(disk)} is not one of ['AUTO', 'MANUAL']`);
  }
  return ok({ flavorRef: String(ref), diskConfig: disk === 'AUTO' || disk === 'MANUAL' ? disk : null });
}

export interface MigrateBody {
  /** The host asked for; null: wherever the scheduler says. */
  readonly host: string | null;
}

/** The value of `migrate` in `{"migrate": null | {"host": …}}` at microversion 2.`minor`. */
export function parseMigrateBody(value: unknown, minor: number): Parsed<MigrateBody> {
  if (minor < 56 || value === null) return ok({ host: null });
  if (!isObject(value)) return invalid('migrate', value, `${shown(value)} is not of type 'object', 'null'`);
  const extra = unexpected('migrate', value, ['host']);
  if (extra !== null) return extra;
  const host = value.host ?? null;
  if (host === null) return ok({ host: null });
  if (typeof host !== 'string') return invalid('host', host, `${shown(host)} is not of type 'string', 'null'`);
  const wrong = checkHostName(host);
  return wrong === null ? ok({ host }) : no(wrong);
}
