// Shapes that the network API's resources share, as Neutron's (neutron-lib/api/definitions), and how what they have in
// common is shown.
import { Type } from 'typebox';
import type { Standard } from '../../control/network/standard.ts';
import { isoSeconds } from '../../model/time.ts';
import { lenientBoolean } from '../http/validation.ts';

export const V2 = '/network/v2.0';
export const service = 'network' as const;
export const strict = { additionalProperties: false } as const;

export const text = Type.String({ maxLength: 255 });
export const values = Type.Optional(Type.Array(text, { maxItems: 100 }));
export const ipv4 = Type.String({ format: 'ipv4', maxLength: 15 });
export const optional = Type.Optional;
export const boolean = Type.Optional(lenientBoolean);
export const texts = Type.Array(Type.String());
/** A UUID, or none; Neutron takes an empty text for none too. */
export const idOrNull = Type.Union([Type.String({ maxLength: 36 }), Type.Null()]);

export const Params = Type.Object({ id: text }, strict);
export const ShowQuery = Type.Object({ fields: values }, strict);
/** Filters of lists that are always empty here. */
export const EmptyListQuery = Type.Object({}, { additionalProperties: Type.Union([text, Type.Array(text)]) });

/** Whose a new record is; an administrator may name another project. */
export const project = { project_id: optional(text), tenant_id: optional(text) };
export const named = { name: optional(text), description: optional(text) };

/** What every record is shown with. */
export const standard = {
  id: Type.String(),
  name: Type.String(),
  description: Type.String(),
  project_id: Type.String(),
  tenant_id: Type.String(),
  tags: texts,
  revision_number: Type.Integer(),
  created_at: Type.String(),
  updated_at: Type.String(),
};

export const renderStandard = (of: Standard) => ({
  id: of.id,
  description: of.description,
  project_id: of.projectId,
  tenant_id: of.projectId,
  tags: [...of.tags],
  revision_number: of.revision,
  created_at: isoSeconds(of.createdAt),
  updated_at: isoSeconds(of.updatedAt),
});

/** Only the named fields; all when none is named. Unknown names are passed over, as Neutron does. */
export function only<T extends object>(body: T, fields: readonly string[] | undefined): Partial<T> {
  if (!fields || fields.length === 0) return body;
  const wanted = new Set(fields);
  return Object.fromEntries(Object.entries(body).filter(([key]) => wanted.has(key))) as Partial<T>;
}
