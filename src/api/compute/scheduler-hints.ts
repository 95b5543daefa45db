// Scheduler hints of POST /servers. `group`, `same_host` and `different_host` count, the latter two when the server is
// made and not for its later moves. The others that Nova's filters know ask for something that would not be kept here, and
// are refused; what nobody knows is passed over, as in Nova.
import { Type } from 'typebox';
import { badRequest } from '../http/errors.ts';

/** Under either name, beside `server`. */
export const HINT_KEYS = ['os:scheduler_hints', 'OS-SCH-HNT:scheduler_hints'] as const;

const REFUSED = ['query', 'target_cell', 'different_cell', 'build_near_host_ip', 'cidr'] as const;

const Uuid = Type.String({ format: 'uuid' });
const Servers = Type.Optional(Type.Union([Uuid, Type.Array(Uuid, { maxItems: 100 })]));

export const Hints = Type.Object(
  { group: Type.Optional(Type.Union([Uuid, Type.Null()])), same_host: Servers, different_host: Servers },
  { additionalProperties: true, maxProperties: 50 },
);

export interface PlacementHints {
  /** The server group to join; null: none. */
  readonly groupId: string | null;
  /** Ids of servers to be beside of; null: of no matter. */
  readonly sameHost: readonly string[] | null;
  /** Ids of servers to be away from. */
  readonly differentHost: readonly string[];
}

/** What the hints ask for. @throws ApiError 400 */
export function hintsOf(body: Readonly<Record<string, unknown>>): PlacementHints {
  const found = HINT_KEYS.find((key) => body[key] !== undefined);
  if (found === undefined) return { groupId: null, sameHost: null, differentHost: [] };
  const hints = body[found] as {
    readonly group?: string | null;
    readonly same_host?: string | string[];
    readonly different_host?: string | string[];
  };
  const refused = REFUSED.find((name) => Object.hasOwn(hints, name));
  if (refused !== undefined) {
    throw badRequest(`Invalid input for field/attribute ${found}. The hint ${refused} is not supported.`);
  }
  const ids = (value: string | readonly string[]): string[] => [value].flat().map((id) => id.toLowerCase());
  const same = ids(hints.same_host ?? []);
  return {
    groupId: hints.group?.toLowerCase() ?? null,
    sameHost: same.length === 0 ? null : same,
    differentHost: ids(hints.different_host ?? []),
  };
}
