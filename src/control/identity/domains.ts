// Domains: what projects and users are in. The one called Default is always there.
import { conflict, forbidden, notFound, type Refusal, refused } from '../../model/refusal.ts';
import {
  type Changed,
  DEFAULT_DOMAIN,
  type Directory,
  type Domain,
  domainOf,
  MAX_LISTED,
  newIdentityId,
  ok,
} from './directory.ts';
import { isNamed, type NameFilter } from './names.ts';

export const domainNotFound = (id: string): Refusal => notFound(`Could not find domain: ${id.slice(0, 255)}.`);

export interface DomainFilter extends NameFilter {
  readonly enabled?: boolean;
}

/** By name; one more than MAX_LISTED at most. */
export async function listDomains({ db }: Directory, { enabled, ...names }: DomainFilter): Promise<Domain[]> {
  let query = db.selectFrom('domains').selectAll().where(isNamed(names));
  if (enabled !== undefined) query = query.where('enabled', '=', enabled ? 1 : 0);
  const rows = await query
    .orderBy('name')
    .limit(MAX_LISTED + 1)
    .execute();
  return rows.map(domainOf);
}

const nameTaken = (name: string): Refusal =>
  conflict(`Conflict occurred attempting to store domain - Duplicate entry found with name ${name}.`);

export const createDomain = (
  { change, clock }: Directory,
  request: { readonly name: string; readonly description: string; readonly enabled: boolean },
): Promise<Changed<Domain>> =>
  change(async (trx) => {
    const { name, description, enabled } = request;
    const row = await trx
      .insertInto('domains')
      .values({ id: newIdentityId(), name, description, enabled: enabled ? 1 : 0, created_at: clock.now() })
      .onConflict((on) => on.column('name').doNothing())
      .returningAll()
      .executeTakeFirst();
    return row ? ok(domainOf(row)) : refused(nameTaken(name));
  });

export const updateDomain = (
  { change }: Directory,
  id: string,
  { name, description, enabled }: { readonly name?: string; readonly description?: string; readonly enabled?: boolean },
): Promise<Changed<Domain>> =>
  change(async (trx) => {
    const before = await trx.selectFrom('domains').selectAll().where('id', '=', id).executeTakeFirst();
    if (!before) return refused(domainNotFound(id));
    if (name !== undefined && name !== before.name) {
      const other = await trx.selectFrom('domains').select('id').where('name', '=', name).executeTakeFirst();
      if (other) return refused(nameTaken(name));
    }
    const row = await trx
      .updateTable('domains')
      .set({
        name: name ?? before.name,
        description: description ?? before.description,
        enabled: (enabled ?? before.enabled === 1) ? 1 : 0,
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return ok(domainOf(row));
  });

/** With all that is in it: projects, users, groups, their roles and credentials. Only one that is disabled goes. */
export const deleteDomain = ({ change }: Directory, id: string): Promise<Changed<null>> =>
  change(async (trx) => {
    const row = await trx.selectFrom('domains').select('enabled').where('id', '=', id).executeTakeFirst();
    if (!row) return refused(domainNotFound(id));
    if (id === DEFAULT_DOMAIN) return refused(forbidden('The default domain cannot be deleted.'));
    if (row.enabled === 1) {
      return refused(forbidden('Cannot delete a domain that is enabled, please disable it first.'));
    }
    await trx
      .deleteFrom('role_assignments')
      .where((eb) =>
        eb.or([
          eb.and([eb('scope', '=', 'domain'), eb('scope_id', '=', id)]),
          eb.and([
            eb('scope', '=', 'project'),
            eb('scope_id', 'in', eb.selectFrom('projects').select('id').where('domain_id', '=', id)),
          ]),
        ]),
      )
      .execute();
    await trx.deleteFrom('domains').where('id', '=', id).execute();
    return ok(null);
  });
