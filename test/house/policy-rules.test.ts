// Every default rule of the policy is asked by something: a rule that nothing asks changes nothing for who writes it.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bodySchemas } from '../../src/api/http/route.ts';
import { parseCheck, rulesIn } from '../../src/model/policy/language.ts';
import { defaultRules, UNASKED } from '../../src/model/policy/rules.ts';
import { servedRoutes } from '../docs/routes-table.ts';

const ROOT = join(import.meta.dirname, '../..');

/** What stands between quotes in the program, outside of the tests and of the rules themselves. */
function quoted(): Set<string> {
  const files = globSync('src/**/*.ts', { cwd: ROOT }).filter(
    (file) => !file.includes('.test.') && !file.includes('model/policy/'),
  );
  const text = files.map((file) => readFileSync(join(ROOT, file), 'utf8')).join('\n');
  return new Set([...text.matchAll(/['`]([^'`\n]+)['`]/g)].map(([, name = '']) => name));
}

interface Schema {
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
}

/** Neutron's rules of attributes, as requireAttributes names them: `create_port:fixed_ips:ip_address`. */
const attributesOf = (prefix: string, { anyOf = [], items, properties = {} }: Schema): string[] => [
  ...[...anyOf, ...(items ? [items] : [])].flatMap((each) => attributesOf(prefix, each)),
  ...Object.entries(properties).flatMap(([name, schema]) => {
    const rule = `${prefix}:${name}`;
    return [rule, ...attributesOf(rule, schema)];
  }),
];

async function asked(): Promise<Set<string>> {
  const names = quoted();
  for (const route of await servedRoutes()) {
    const rules = typeof route.policy === 'string' ? [route.policy] : Object.values(route.policy.byBody);
    for (const rule of rules) {
      names.add(rule);
      if (route.service !== 'network') continue;
      const bodies = (bodySchemas(route) as Schema[]).flatMap((schema) => [schema, ...(schema.anyOf ?? [])]);
      const records = bodies.flatMap((schema) => Object.values(schema.properties ?? {}));
      for (const name of records.flatMap((record) => attributesOf(rule, record))) names.add(name);
    }
  }
  return names;
}

test('every default rule is asked, is used by another, or is in the list of those that are not', async () => {
  const names = await asked();
  const rules = defaultRules();
  const used = new Set(
    rules.flatMap(({ check }) => {
      const parsed = parseCheck(check);
      return parsed.kind === 'ok' ? rulesIn(parsed.check) : [];
    }),
  );
  const idle = new Set(rules.flatMap(({ name }) => (names.has(name) || used.has(name) ? [] : [name])));
  assert.deepEqual([...idle].toSorted(), [...UNASKED].toSorted());
});
