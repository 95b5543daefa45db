// The JSON schemas that clients read: what an image looks like, a member, a definition. python-glanceclient checks with them
// what it is about to make, bit by bit, and makes the options of its commands of them. So they require no more than Glance's
// (glance/schema.py), say which values are not written, and have `"type": ["string", "null"]` for what may be null.
import type { Type } from 'typebox';
import { type Route, route } from '../http/route.ts';
import { SchemaAnswer } from './schemas.ts';

interface Wanted {
  /** What must be there when one is made. */
  readonly required?: readonly string[];
  /** What the service alone writes. */
  readonly readOnly?: readonly string[];
}

/** `path`: behind /v2/schemas/. `name`: as the schema is called. */
export function schemaRoute(path: string, name: string, schema: Type.TObject, wanted: Wanted = {}): Route {
  const body = { name, ...shown(schema, wanted) };
  return route({
    ...{ method: 'GET', url: `/image/v2/schemas/${path}`, service: 'image', policy: 'anyone' },
    summary: `JSON schema: ${name}`,
    answers: { 200: SchemaAnswer },
    handle: () => ({ status: 200, body }),
  });
}

function shown(schema: Type.TObject, { required = [], readOnly = [] }: Wanted) {
  const { properties, additionalProperties = true } = schema as Type.TObject & { additionalProperties?: unknown };
  const described = Object.entries(properties).map(([key, each]) => {
    const simple = simplified(each) as object;
    return [key, readOnly.includes(key) ? { ...simple, readOnly: true } : simple];
  });
  return {
    type: 'object' as const,
    properties: Object.fromEntries(described) as Record<string, unknown>,
    additionalProperties,
    ...(required.length === 0 ? {} : { required: [...required] }),
  };
}

/** Without what is required, and with null as one of the types. */
function simplified(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(simplified);
  if (typeof schema !== 'object' || schema === null) return schema;
  const { anyOf, required, ...rest } = schema as Record<string, unknown>;
  const [one, other] = (Array.isArray(anyOf) ? anyOf : []) as Record<string, unknown>[];
  if (one && other?.['type'] === 'null') {
    const { enum: values, ...kept } = one;
    return { ...kept, type: [one['type'], 'null'], ...(Array.isArray(values) ? { enum: [null, ...values] } : {}) };
  }
  const kept = Object.entries({
    ...rest,
    ...(anyOf === undefined ? {} : { anyOf }),
    // A definition of metadata has a property of that name.
    ...(Array.isArray(required) || required === undefined ? {} : { required }),
  });
  return Object.fromEntries(kept.map(([key, value]) => [key, simplified(value)]));
}
