// Requests made from the API's own schemas: valid values of any TypeBox schema, and valid bodies broken in one or more
// places. Generic: a new route is fuzzed without a word here.

import type { TSchema } from 'typebox';
import { fc } from '../../src/lib/property-testing.ts';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly Json[];
  readonly const?: Json;
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minProperties?: number;
}

/** Values that the schema allows; texts are often taken from `known`, so that requests reach what exists. */
export const validValue = (schema: TSchema, known: fc.Arbitrary<string>): fc.Arbitrary<Json> =>
  valid(schema as Schema, known);

function valid(schema: Schema, known: fc.Arbitrary<string>): fc.Arbitrary<Json> {
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map((each) => valid(each, known)));
  switch (schema.type) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'integer':
      return fc.oneof(
        fc.integer({ min: Math.max(schema.minimum ?? 0, -1), max: Math.min(schema.maximum ?? 100, 100) }),
        fc.constant(schema.maximum ?? 2 ** 31 - 1),
      );
    case 'number':
      return fc.double({ min: (schema.minimum ?? schema.exclusiveMinimum ?? 0) + 0.5, max: 100, noNaN: true });
    case 'string':
      return text(schema, known);
    case 'array':
      return fc.array(valid(schema.items ?? {}, known), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.max(schema.minItems ?? 0, Math.min(schema.maxItems ?? 3, 3)),
      });
    case 'object':
      return objectOf(schema, known);
    default:
      return fc.constantFrom<Json>(null, 'x', 1, {});
  }
}

/** NUL is refused everywhere, before anything else is looked at. */
const hasNoNul = (each: string): boolean => !each.includes('\0');

function text(schema: Schema, known: fc.Arbitrary<string>): fc.Arbitrary<string> {
  if (schema.format === 'uuid') return fc.oneof(known, fc.uuid());
  if (schema.format === 'ipv4') return fc.ipV4();
  if (schema.format === 'ipv6') return fc.ipV6();
  if (schema.pattern !== undefined) {
    return fc.stringMatching(new RegExp(schema.pattern)).map((each) => each.slice(0, schema.maxLength ?? 255) || 'a');
  }
  const [minLength, maxLength] = [schema.minLength ?? 0, Math.min(schema.maxLength ?? 40, 40)];
  return fc.oneof(
    { weight: 3, arbitrary: known },
    { weight: 1, arbitrary: fc.string({ minLength, maxLength }) },
    {
      weight: 1,
      arbitrary: fc.string({ unit: 'binary', minLength, maxLength }).filter(hasNoNul),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom('x'.repeat(Math.min(schema.maxLength ?? 300, 300)), ...HOSTILE_TEXTS.filter(hasNoNul)),
    },
  );
}

function objectOf(schema: Schema, known: fc.Arbitrary<string>): fc.Arbitrary<Json> {
  const required = new Set(schema.required ?? []);
  const keys = Object.entries(schema.properties ?? {});
  const named = fc.record(Object.fromEntries(keys.map(([key, each]) => [key, valid(each, known)])), {
    requiredKeys: keys
      .map(([key]) => key)
      .filter((key) => required.has(key) || keys.length <= (schema.minProperties ?? 0)),
  });
  const [pattern] = Object.entries(schema.patternProperties ?? {});
  if (!pattern) return named as fc.Arbitrary<Json>;
  const [keyPattern, value] = pattern;
  const record = fc.dictionary(fc.stringMatching(new RegExp(keyPattern)), valid(value, known), {
    minKeys: schema.minProperties ?? 0,
    maxKeys: Math.max(schema.minProperties ?? 0, 3),
  });
  return fc.tuple(named, record).map(([a, b]) => ({ ...(a as object), ...b }) as Json);
}

export const HOSTILE_TEXTS = [
  '',
  ' ',
  '../../etc/passwd',
  '/etc/passwd\0.png',
  "'; drop table servers; --",
  '$(reboot)',
  '`id`',
  '%00',
  '%2e%2e%2f',
  '\u0000',
  '\ud800',
  '\u202etxt',
  '😀',
  '<script>alert(1)</script>',
  '{{7*7}}',
  '__proto__',
  'constructor',
  'null',
  'NaN',
  '-1',
  '1e309',
  '99999999999999999999',
  '0x10',
  'latest',
  'x'.repeat(5000),
] as const;

const HOSTILE_VALUES: readonly Json[] = [
  ...HOSTILE_TEXTS,
  null,
  true,
  false,
  0,
  -1,
  1.5,
  2 ** 31,
  2 ** 53,
  1e308,
  [],
  {},
  [[]],
  [null],
  { a: { b: { c: {} } } },
  ['x', 1, null, {}],
  nested(200),
];

function nested(depth: number): Json {
  let value: Json = 1;
  for (let i = 0; i < depth; i += 1) value = { x: value };
  return value;
}

/** The value as it is, or broken in one to three places. */
export const broken = (value: fc.Arbitrary<Json>): fc.Arbitrary<Json> =>
  fc
    .tuple(value, fc.array(mutation, { maxLength: 3 }))
    .map(([start, mutations]) => mutations.reduce<Json>((current, change) => mutate(current, change), start));

interface Mutation {
  readonly kind: 'replace' | 'drop' | 'add' | 'repeat';
  readonly where: number;
  readonly with: Json;
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom('replace', 'drop', 'add', 'repeat'),
  where: fc.nat({ max: 1000 }),
  with: fc.constantFrom(...HOSTILE_VALUES),
});

type Path = readonly (string | number)[];

function mutate(value: Json, change: Mutation): Json {
  const paths = pathsOf(value, [], 4);
  const path = paths[change.where % paths.length] ?? [];
  return apply(value, path, (node) => {
    switch (change.kind) {
      case 'replace':
        return change.with;
      case 'add':
        return isObject(node) ? { ...node, [keyFor(change.where)]: change.with } : change.with;
      case 'drop':
        return isObject(node) ? Object.fromEntries(Object.entries(node).slice(1)) : null;
      case 'repeat':
        return Array.isArray(node) && node.length < 2000
          ? Array.from({ length: 1000 }, () => node[0] ?? change.with)
          : [node, node];
    }
  });
}

const keyFor = (seed: number): string =>
  ['unexpected', 'id', 'constructor', 'x'.repeat(300), ''][seed % 5] ?? 'unexpected';
const isObject = (value: Json): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function pathsOf(value: Json, here: Path, depth: number): Path[] {
  if (depth === 0 || typeof value !== 'object' || value === null) return [here];
  return [here, ...Object.entries(value).flatMap(([key, each]) => pathsOf(each, [...here, key], depth - 1))];
}

function apply(value: Json, path: Path, change: (node: Json) => Json): Json {
  const [key, ...rest] = path;
  if (key === undefined) return change(value);
  if (Array.isArray(value))
    return value.map((each, index) => (String(index) === String(key) ? apply(each, rest, change) : each));
  if (!isObject(value)) return change(value);
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, name === key ? apply(each, rest, change) : each]),
  );
}
