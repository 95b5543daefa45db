// Whoever sends an object chooses its keys: each schema of a body says how long they may be, or that they are its own.
// (A key's minLength and maxLength are lost in a Type.Record; its pattern is not.)
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodySchemas } from '../../src/api/http/route.ts';
import { servedRoutes } from '../docs/routes-table.ts';

/** Objects of which only what is named is read, so that the length of other keys does no harm; or where else it is checked. */
const OPEN: readonly RegExp[] = [
  /^POST \/identity\/v3\/auth\/tokens .properties.auth(.properties.identity)?$/,
  /^POST \S+ .properties.(os|OS-SCH-HNT):scheduler_hints(.anyOf.0)?$/,
  /^PUT \/image\/v2\/images\/:id\/members\/:key $/,
  /^POST \/image\/v2\/images\/:id\/import .properties.method$/,
  // Looked at as a variant is.
  /^POST \S+\/action $/,
  // control/images/rules.ts
  /^POST \/image\/v2\/images $/,
  // Administrators'; of no more than 4095 characters: control/network/port-rules.ts
  /^(POST|PUT) \/network\/v2.0\/ports\S* .*profile(.anyOf.0)?$/,
];

/** Where in a schema keys have no limit. */
function open(schema: unknown, at: string): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const { patternProperties, additionalProperties, propertyNames, type } = schema as Record<string, unknown>;
  const patterns = Object.keys((patternProperties ?? {}) as object);
  const anyKey = additionalProperties !== false && propertyNames === undefined;
  const isOpen = type === 'object' && (anyKey || patterns.some((pattern) => !/\{\d*,\d+\}\$$/.test(pattern)));
  return [...(isOpen ? [at] : []), ...Object.entries(schema).flatMap(([key, value]) => open(value, `${at}.${key}`))];
}

test('no body has keys of any length', async () => {
  const found = (await servedRoutes()).flatMap((route) =>
    [...bodySchemas(route), ...(route.variants ?? []).map(({ schema }) => ({ schema }))].flatMap((schema) =>
      open(schema, `${route.method} ${route.url} `),
    ),
  );
  assert.deepEqual(
    [...new Set(found)].filter((each) => !OPEN.some((known) => known.test(each))),
    [],
  );
});
