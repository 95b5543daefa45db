// Who has which role where, as lists: as it was given, or what it comes to (`effective`): a group's roles as those of its
// members, and with each role those that it implies.
import { sql } from 'kysely';
import { RANKED_ROLES, withImplied } from '../../model/policy/roles.ts';
import { isAmong } from '../../store/dialect.ts';
import { assignmentsFor, type Directory, MAX_LISTED } from './directory.ts';
import { listRoles } from './roles.ts';

export interface AssignmentFilter {
  readonly userId?: string;
  readonly groupId?: string;
  readonly roleId?: string;
  readonly projectIds?: readonly string[];
  readonly domainId?: string;
  readonly system?: boolean;
  /** Only projects of this domain, and the domain itself. */
  readonly within?: string;
}

/** An assignment with the names of what it is about. */
export interface Assignment {
  readonly holder:
    | { readonly kind: 'group'; readonly group: Named }
    /** `through`: id of the group that gives the user the role; null: it is the user's own. */
    | { readonly kind: 'user'; readonly user: Named; readonly through: string | null };
  readonly role: { readonly id: string; readonly name: string };
  readonly scope:
    | { readonly kind: 'project'; readonly project: Named }
    | { readonly kind: 'domain'; readonly domain: { readonly id: string; readonly name: string } }
    | { readonly kind: 'system' };
  /** Id of the role that it was worked out from; null: it was given. */
  readonly impliedBy: string | null;
}
export interface Named {
  readonly id: string;
  readonly name: string;
  readonly domain: { readonly id: string; readonly name: string };
}

const named = (id: string, name: string | null, domainId: string | null, domainName: string | null): Named => ({
  ...{ id, name: name ?? '', domain: { id: domainId ?? '', name: domainName ?? '' } },
});

/**
 * As they were given, by user, group, scope and role; one more than MAX_LISTED at most.
 * @param members each of a group as one per member
 */
export async function listAssignments(
  { db }: Directory,
  filter: AssignmentFilter,
  members = false,
): Promise<Assignment[]> {
  let query = db
    .selectFrom('role_assignments as a')
    .leftJoin('group_members as m', (on) =>
      on.onRef('m.group_id', '=', 'a.group_id').on(sql<boolean>`${sql.lit(members ? 1 : 0)} = 1`),
    )
    .leftJoin('users as u', (on) => on.on((eb) => eb('u.id', '=', eb.fn.coalesce('a.user_id', 'm.user_id'))))
    .leftJoin('domains as ud', 'ud.id', 'u.domain_id')
    .leftJoin('user_groups as g', 'g.id', 'a.group_id')
    .leftJoin('domains as gd', 'gd.id', 'g.domain_id')
    .innerJoin('roles as r', 'r.id', 'a.role_id')
    .leftJoin('projects as p', (on) => on.onRef('p.id', '=', 'a.scope_id').on('a.scope', '=', 'project'))
    .leftJoin('domains as d', (on) =>
      on.on((eb) =>
        eb.or([
          eb('d.id', '=', eb.ref('p.domain_id')),
          eb.and([eb('a.scope', '=', 'domain'), eb('d.id', '=', eb.ref('a.scope_id'))]),
        ]),
      ),
    )
    .select(['a.scope', 'a.scope_id', 'u.id as user_id', 'u.name as user_name', 'ud.id as user_domain_id'])
    .select(['ud.name as user_domain_name', 'r.id as role_id', 'r.name as role_name'])
    .select(['g.id as group_id', 'g.name as group_name', 'gd.id as group_domain_id', 'gd.name as group_domain_name'])
    .select(['p.name as project_name', 'd.id as domain_id', 'd.name as domain_name']);
  if (members) query = query.where('u.id', 'is not', null);
  if (filter.userId !== undefined) query = query.where('u.id', '=', filter.userId);
  if (filter.groupId !== undefined) query = query.where('g.id', '=', filter.groupId);
  if (filter.roleId !== undefined) query = query.where('a.role_id', '=', filter.roleId);
  for (const [kind, id] of [
    ['domain', filter.domainId],
    ['system', filter.system === true ? '' : undefined],
  ] as const) {
    if (id !== undefined) query = query.where('a.scope', '=', kind).where('a.scope_id', '=', id);
  }
  if (filter.projectIds !== undefined)
    query = query.where('a.scope', '=', 'project').where(isAmong(db, 'a.scope_id', filter.projectIds));
  if (filter.within !== undefined) query = query.where('d.id', '=', filter.within);
  const rows = await query
    .orderBy('u.name')
    .orderBy('g.name')
    .orderBy('a.scope')
    .orderBy('a.scope_id')
    .orderBy('r.name')
    .limit(MAX_LISTED + 1)
    .execute();
  return rows.map((row) => {
    const domain = { id: row.domain_id ?? '', name: row.domain_name ?? '' };
    return {
      holder:
        row.user_id === null
          ? {
              kind: 'group',
              group: named(row.group_id ?? '', row.group_name, row.group_domain_id, row.group_domain_name),
            }
          : {
              kind: 'user',
              user: named(row.user_id, row.user_name, row.user_domain_id, row.user_domain_name),
              through: row.group_id,
            },
      role: { id: row.role_id, name: row.role_name },
      scope:
        row.scope === 'project'
          ? { kind: 'project', project: { id: row.scope_id, name: row.project_name ?? '', domain } }
          : row.scope === 'domain'
            ? { kind: 'domain', domain }
            : { kind: 'system' },
      impliedBy: null,
    };
  });
}

/** What they come to: for users alone, each role once per user and scope. */
export async function listEffective(directory: Directory, filter: AssignmentFilter): Promise<Assignment[]> {
  const given = await listAssignments(directory, filter, true);
  const ranked = (await listRoles(directory)).filter((role) => (RANKED_ROLES as readonly string[]).includes(role.name));
  const all = new Map<string, Assignment>();
  const add = (each: Assignment): void => {
    const { holder, scope, role } = each;
    const key = JSON.stringify([holder.kind === 'user' ? holder.user.id : '', scope, role.id]);
    if (!all.has(key)) all.set(key, each);
  };
  const own = (each: Assignment): boolean => each.holder.kind === 'user' && each.holder.through === null;
  // A user's own role is named before the same one of a group, and a given one before an implied one.
  for (const each of [...given.filter(own), ...given.filter((one) => !own(one))]) add(each);
  for (const each of given) {
    const names = withImplied([each.role.name]);
    for (const { id, name } of ranked.filter((role) => names.has(role.name))) {
      add({ ...each, role: { id, name }, impliedBy: each.role.id });
    }
  }
  return [...all.values()];
}

/** Ids of the domains in which the user has a role, by itself or in a group. */
export async function domainsOf({ db }: Directory, userId: string): Promise<string[]> {
  const rows = await assignmentsFor(db, userId)
    .select('scope_id')
    .distinct()
    .where('scope', '=', 'domain')
    .orderBy('scope_id')
    .execute();
  return rows.map((row) => row.scope_id);
}
