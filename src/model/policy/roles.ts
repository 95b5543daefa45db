// Roles imply each other downwards, admin → manager → member → reader (Keystone's default implications), so that a token
// with `admin` alone counts as the rest too.

/** Each implies those before it. */
export const RANKED_ROLES = ['reader', 'member', 'manager', 'admin'] as const;

/** The roles with all that they imply. */
export function withImplied(roles: readonly string[]): ReadonlySet<string> {
  const all = new Set(roles.map((role) => role.toLowerCase()));
  const highest = RANKED_ROLES.findLastIndex((rank) => all.has(rank));
  for (const rank of RANKED_ROLES.slice(0, highest + 1)) all.add(rank);
  return all;
}
