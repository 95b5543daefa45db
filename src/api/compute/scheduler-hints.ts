// Scheduler hints of POST /servers. `group` is the one that counts. The others that Nova's filters know ask for something
// that would not be kept here, and are refused; what nobody knows is passed over, as in Nova.
import { Type } from 'typebox';
import { badRequest } from '../http/errors.ts';

/** Under either name, beside `server`. */
export const HINT_KEYS = ['os:scheduler_hints', 'OS-SCH-HNT:scheduler_hints'] as const;

const REFUSED = [
  'same_host',
  'different_host',
  'query',
  'target_cell',
  'different_cell',
  'build_near_host_ip',
  'cidr',
] as const;

export const Hints = Type.Object(
  { group: Type.Optional(Type.Union([Type.String({ format: 'uuid' }), Type.Null()])) },
  { additionalProperties: true, maxProperties: 50 },
);

/** The group that the hints name; null: none. @throws ApiError 400 */
export function groupHint(body: Readonly<Record<string, unknown>>): string | null {
  for (const key of HINT_KEYS) {
    const hints = body[key] as (Readonly<Record<string, unknown>> & { readonly group?: string | null }) | undefined;
    if (hints === undefined) continue;
    const refused = REFUSED.find((name) => Object.hasOwn(hints, name));
    if (refused !== undefined) {
      throw badRequest(`Invalid input for field/attribute ${key}. The hint ${refused} is not supported.`);
    }
    if (typeof hints.group === 'string') return hints.group.toLowerCase();
  }
  return null;
}
