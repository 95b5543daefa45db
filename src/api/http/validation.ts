// Checks requests against their schemas and says what is wrong in Nova's words (nova/api/validation/validators.py over
// Python's jsonschema), so that clients and people who know Nova read what they expect. Pure but for the cache of
// compiled schemas.
//
// Bodies are never changed (no coercion, no defaults, no removal), but for values whose schema says that they are read
// leniently. Query strings arrive as text and are coerced.
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { DataValidationCxt } from 'ajv/dist/types/index.js';
import addFormatsModule from 'ajv-formats';
import { type Static, type TSchema, Type } from 'typebox';
import { badRequest } from './errors.ts';

const OPTIONS = {
  strict: true,
  allowUnionTypes: true,
  strictRequired: false,
  removeAdditional: false,
  useDefaults: false,
};
/** The keyword of schemas that take a value in several ways and pass it on in one. */
const READS = 'x-reads';
const BOOLEAN = '^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[01])$';
const INTEGER = '^-?[0-9]{1,9}$';
const [isBoolean, isInteger] = [new RegExp(BOOLEAN), new RegExp(INTEGER)];
/** What a text stands for; one that stands for nothing is left as it is. */
const READERS = {
  boolean: (text: string) => (isBoolean.test(text) ? /^(true|1)$/i.test(text) : text),
  integer: (text: string) => (isInteger.test(text) ? Number(text) : text),
};

/** Also as a text, of any case, or '1' and '0' (neutron-lib: convert_to_boolean). */
export const lenientBoolean = Type.Unsafe<boolean>({
  ...{ anyOf: [{ type: 'boolean' }, { type: 'string', pattern: BOOLEAN }] },
  [READS]: 'boolean',
});

/** A number of that range also as a text (neutron-lib: convert_to_int). */
export const lenientInteger = (minimum: number, maximum: number) =>
  Type.Unsafe<number>({
    ...{
      anyOf: [
        { type: 'integer', minimum, maximum },
        { type: 'string', pattern: INTEGER },
      ],
    },
    [READS]: 'integer',
  });

const forBodies = withFormats(new Ajv({ ...OPTIONS, coerceTypes: false })).addKeyword({
  // Before the types are looked at: what is not read is refused by them.
  ...{ keyword: READS, before: 'anyOf', modifying: true, errors: false },
  validate(kind: keyof typeof READERS, value: unknown, _: unknown, at?: DataValidationCxt): boolean {
    if (at && typeof value === 'string') at.parentData[at.parentDataProperty] = READERS[kind](value);
    return true;
  },
});
const forText = withFormats(new Ajv({ ...OPTIONS, coerceTypes: 'array' }));
const compiledBodies = new WeakMap<TSchema, ValidateFunction>();
const compiledText = new WeakMap<TSchema, ValidateFunction>();

const SHOWN_VALUE_LENGTH = 200;

function withFormats(ajv: Ajv): Ajv {
  // ajv-formats is CommonJS: its default export is the module when imported from ESM.
  const add = addFormatsModule as unknown as (ajv: Ajv, formats: readonly string[]) => Ajv;
  return add(ajv, ['uuid', 'date-time', 'ipv4', 'ipv6', 'uri']).addFormat('regex', isPattern);
}

/** Whether Python would take it for a regular expression, as far as JavaScript's can tell. */
function isPattern(source: string): boolean {
  const known = source.replace(/^\(\?[aiLmsux]+\)/, '').replaceAll('(?P<', '(?<');
  try {
    return new RegExp(known) instanceof RegExp;
  } catch {
    // Not a regular expression, which is what was asked.
    return false;
  }
}

/**
 * The body, when it is what the schema says.
 * @throws ApiError 400, naming the field
 */
export function checkBody<S extends TSchema>(schema: S, body: unknown): Static<S> {
  const validate = compiled(forBodies, compiledBodies, schema);
  if (validate(body)) return body as Static<S>;
  throw badRequest(bodySentence(body, worst(validate.errors)));
}

/**
 * Query or path parameters, coerced to the schema's types (a single value becomes a list where one is asked for).
 * @throws ApiError 400, naming the parameter
 */
export function checkText<S extends TSchema>(schema: S, values: unknown): Static<S> {
  const validate = compiled(forText, compiledText, schema);
  const copy = structuredClone({ ...(values as object) });
  if (!validate(copy)) throw badRequest(querySentence(copy, worst(validate.errors)));
  const [endless] = Object.entries(copy).filter(([, value]) => [value].flat().some(isEndless));
  if (endless) throw badRequest(notDigits(endless[0], (values as Record<string, unknown>)[endless[0]]));
  return copy as Static<S>;
}

/** Text such as 1e400, which is read as an integer without an end, and held against no minimum or maximum. */
const isEndless = (value: unknown): boolean => typeof value === 'number' && !Number.isFinite(value);

const notDigits = (name: string, value: unknown): string =>
  `Invalid input for query parameters ${shorten(name)}. Value: ${plain(value)}. ${represent(value)} does not match '^[0-9]*$'`;

/** What of a body contradicts the schema, or null. For checks of our own answers. */
export function mismatch(schema: TSchema, body: unknown): string | null {
  const validate = compiled(forBodies, compiledBodies, schema);
  return validate(body) ? null : bodySentence(body, worst(validate.errors));
}

/** Compiled when it is first needed; test/api/openapi.test.ts compiles every schema that there is. */
function compiled(ajv: Ajv, cache: WeakMap<TSchema, ValidateFunction>, schema: TSchema): ValidateFunction {
  let validate = cache.get(schema);
  if (!validate) {
    validate = ajv.compile(schema);
    cache.set(schema, validate);
  }
  return validate;
}

interface Finding {
  readonly error: ErrorObject;
  /** All errors of the check: a failed union comes after those of its branches. */
  readonly all: readonly ErrorObject[];
}

function worst(errors: readonly ErrorObject[] | null | undefined): Finding {
  const all = errors ?? [];
  const error = all.at(-1);
  if (!error) throw new Error('a failed check without an error');
  const branch = branchMeant(error, all);
  return branch ? worst(branch) : { error, all };
}

/**
 * The errors of the branch of a union that is meant: the only one whose type is the value's, or whose keys are there
 * (one record or several: `port` or `ports`), or else what is not null of "something or null". They say more than that no
 * branch fits. A whole body without the key of any branch is told the first one's.
 */
function branchMeant(union: ErrorObject, all: readonly ErrorObject[]): readonly ErrorObject[] | null {
  if (union.keyword !== 'anyOf') return null;
  const start = `${union.schemaPath}/`;
  const within = all.filter((each) => each.schemaPath.startsWith(start));
  // Of a branch as such: a union within one has types of its own.
  const isType = (each: ErrorObject): boolean =>
    each.keyword === 'type' && /^[0-9]+\/type$/.test(each.schemaPath.slice(start.length));
  const isKey = (each: ErrorObject): boolean =>
    each.keyword === 'required' && /^[0-9]+\/required$/.test(each.schemaPath.slice(start.length));
  const branches = [...Map.groupBy(within, (each) => each.schemaPath.slice(start.length).split('/', 1)[0]).values()];
  const ofType = branches.filter((errors) => !errors.some(isType));
  if (ofType.length === 1) return ofType[0] ?? null;
  const keyed = ofType.filter((errors) => !errors.some(isKey));
  if (keyed.length === 1) return keyed[0] ?? null;
  if (keyed.length === 0 && union.instancePath === '') return ofType[0] ?? null;
  const types = within.filter(isType);
  if (types.length !== 1 || types[0]?.params['type'] !== 'null') return null;
  const meant = within.filter((each) => each !== types[0]);
  return meant.length > 0 ? meant : null;
}

function bodySentence(body: unknown, { error, all }: Finding): string {
  const path = pathOf(error);
  const value = at(body, path);
  const message = reasonOf(error, value, all);
  const field = path.at(-1);
  return field === undefined
    ? message
    : `Invalid input for field/attribute ${shorten(field)}. Value: ${plain(value)}. ${message}`;
}

function querySentence(query: unknown, { error, all }: Finding): string {
  const path = pathOf(error);
  const value = at(query, path);
  const message = isNumberExpected(error)
    ? `${represent(value)} does not match '^[0-9]*$'`
    : reasonOf(error, value, all);
  const name = path[0];
  return name === undefined
    ? message
    : `Invalid input for query parameters ${shorten(name)}. Value: ${plain(value)}. ${message}`;
}

/** Nova takes the numbers of a query string for text of digits (nova/api/validation/parameter_types.py). */
const isNumberExpected = (error: ErrorObject): boolean =>
  error.keyword === 'type' && [error.params['type']].flat().includes('integer');

const pathOf = (error: ErrorObject): string[] =>
  error.instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));

function at(value: unknown, path: readonly string[]): unknown {
  let here: unknown = value;
  for (const key of path) here = (here as Record<string, unknown>)[key];
  return here;
}

/** The sentence Python's jsonschema gives for the same failure. */
function reasonOf(error: ErrorObject, value: unknown, all: readonly ErrorObject[]): string {
  const shown = represent(value);
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'required':
      return `${represent(params['missingProperty'])} is a required property`;
    case 'additionalProperties':
    case 'unevaluatedProperties':
      return `Additional properties are not allowed (${represent(params['additionalProperty'] ?? params['unevaluatedProperty'])} was unexpected)`;
    case 'type':
      return `${shown} is not of type ${[params['type']].flat().map(represent).join(', ')}`;
    case 'anyOf':
    case 'oneOf': {
      const types = typesOf(error, all);
      return types ? `${shown} is not of type ${types}` : `${shown} is not valid under any of the given schemas`;
    }
    case 'minLength':
    case 'minItems':
      return `${shown} is too short`;
    case 'maxLength':
    case 'maxItems':
      return `${shown} is too long`;
    case 'minimum':
      return `${shown} is less than the minimum of ${String(params['limit'])}`;
    case 'maximum':
      return `${shown} is greater than the maximum of ${String(params['limit'])}`;
    case 'pattern':
      return `${shown} does not match ${represent(params['pattern'])}`;
    case 'enum':
      return `${shown} is not one of ${represent(params['allowedValues'])}`;
    case 'const':
      return `${represent(params['allowedValue'])} was expected`;
    case 'format':
      return `${shown} is not a ${represent(params['format'])}`;
    case 'uniqueItems':
      return `${shown} has non-unique elements`;
    case 'minProperties':
      return `${shown} does not have enough properties`;
    case 'maxProperties':
      return `${shown} has too many properties`;
    case 'propertyNames':
      return `${represent(params['propertyName'])} is not a valid name here`;
    default:
      return `${shown} ${error.message ?? 'is not valid'}`;
  }
}

/** "'string', 'null'" when every branch of a failed union failed by its type alone. */
function typesOf(union: ErrorObject, all: readonly ErrorObject[]): string | null {
  const branches = all.filter((each) => each !== union && each.schemaPath.startsWith(union.schemaPath));
  const byType = branches.every((each) => each.keyword === 'type' && each.instancePath === union.instancePath);
  if (!byType || branches.length === 0) return null;
  return branches.map((each) => represent((each.params as { type: unknown }).type)).join(', ');
}

/** A JSON value as Python's str() writes it: text without quotes. */
const plain = (value: unknown): string => (typeof value === 'string' ? shorten(value) : represent(value));

/** A JSON value as Python's repr() writes it, shortened. */
function represent(value: unknown): string {
  return shorten(pythonText(value, 0));
}

function pythonText(value: unknown, depth: number): string {
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value === 'string') {
    const text = shorten(value).replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
    return text.includes("'") && !text.includes('"') ? `"${text}"` : `'${text.replaceAll("'", "\\'")}'`;
  }
  if (typeof value !== 'object') return String(value);
  if (depth >= 3) return '...';
  if (Array.isArray(value)) {
    return `[${value
      .slice(0, 20)
      .map((each) => pythonText(each, depth + 1))
      .join(', ')}]`;
  }
  const entries = Object.entries(value).slice(0, 20);
  return `{${entries.map(([key, each]) => `${pythonText(key, depth)}: ${pythonText(each, depth + 1)}`).join(', ')}}`;
}

const shorten = (text: string): string =>
  text.length > SHOWN_VALUE_LENGTH ? `${text.slice(0, SHOWN_VALUE_LENGTH)}...` : text;
