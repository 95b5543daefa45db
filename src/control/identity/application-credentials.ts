// Application credentials: secrets with which a program acts for a user in one project, with some of the user's roles.
//
// One is good as long as its user still has every role that it was given, by itself or implied, in its project; Keystone
// deletes it when a role is taken away, here it rests, and is good again if the role comes back. It goes with its user and
// with its project.
// The secret is shown once, when it is made, and kept as a hash.
import { randomBytes } from 'node:crypto';
import type { Selectable } from 'kysely';
import { badRequest, conflict, forbidden, refused } from '../../model/refusal.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import {
  byId,
  type Changed,
  type Directory,
  effectiveRolesIn,
  newIdentityId,
  ok,
  type Role,
  rolesIn,
  type Selector,
  selectAccount,
  withImpliedRoles,
} from './directory.ts';
import { isNamed, type NameFilter } from './names.ts';
import { hashPassword } from './passwords.ts';

const MAX_PER_USER = 100;

export interface ApplicationCredential {
  readonly id: string;
  readonly userId: string;
  readonly projectId: string;
  readonly name: string;
  readonly description: string | null;
  readonly secretHash: string;
  /** Whether its tokens may make and delete application credentials. */
  readonly unrestricted: boolean;
  readonly expiresAt: number | null;
  /** Microseconds behind the milliseconds of the expiry, 0 to 999. */
  readonly expiresMicros: number;
  readonly roleIds: readonly string[];
}

export interface CredentialRequest {
  readonly userId: string;
  readonly projectId: string;
  readonly name: string;
  readonly description: string | null;
  /** Null: one is made. */
  readonly secret: string | null;
  readonly unrestricted: boolean;
  readonly expiresAt: number | null;
  /** Absent: 0. */
  readonly expiresMicros?: number;
  /** Null: all that may be given on. */
  readonly roles: readonly Selector[] | null;
  /**
   * The credential of whoever asks: its roles are all that can be given on, or it would get its user's others for itself
   * (Keystone: _get_roles). Absent: the user asks.
   */
  readonly through?: ApplicationCredential | null;
}

const credentialOf = (row: Selectable<GlobalTables['application_credentials']>): ApplicationCredential => ({
  id: row.id,
  userId: row.user_id,
  projectId: row.project_id,
  name: row.name,
  description: row.description,
  secretHash: row.secret_hash,
  unrestricted: row.unrestricted === 1,
  expiresAt: row.expires_at,
  expiresMicros: row.expires_micros,
  roleIds: JSON.parse(row.roles_json) as string[],
});

export const findCredential = (directory: Directory, id: string): Promise<ApplicationCredential | null> =>
  byId(directory, 'application credential', id, async () => {
    const row = await directory.db
      .selectFrom('application_credentials')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst();
    return row ? credentialOf(row) : null;
  });

/** By its id, or by its name and whose it is. */
export async function selectCredential(
  directory: Directory,
  named: { readonly id: string } | { readonly name: string; readonly user: Selector },
): Promise<ApplicationCredential | null> {
  if ('id' in named) return findCredential(directory, named.id);
  const account = await selectAccount(directory, named.user);
  if (!account) return null;
  return directory.cached(`application credential of ${account.user.id} ${named.name}`, async () => {
    const [credential] = await listCredentials(directory, account.user.id, { name: named.name });
    return credential ?? null;
  });
}

/** By name. */
export async function listCredentials(
  { db }: Directory,
  userId: string,
  names: NameFilter = {},
): Promise<ApplicationCredential[]> {
  const rows = await db
    .selectFrom('application_credentials')
    .selectAll()
    .where('user_id', '=', userId)
    .where(isNamed(names))
    .orderBy('name')
    .execute();
  return rows.map(credentialOf);
}

/** Whether it still counts: not expired, and its user has every role that it gives. */
export async function isCredentialGood(directory: Directory, credential: ApplicationCredential): Promise<boolean> {
  const { userId, projectId, roleIds, expiresAt } = credential;
  if (expiresAt !== null && expiresAt <= directory.clock.now()) return false;
  const held = await effectiveRolesIn(directory, userId, { kind: 'project', id: projectId });
  return roleIds.every((id) => held.some((role) => role.id === id));
}

/** Returns the secret beside it: it is not shown again. */
export async function createCredential(
  directory: Directory,
  request: CredentialRequest,
): Promise<Changed<{ readonly credential: ApplicationCredential; readonly secret: string }>> {
  const { userId, projectId, name, expiresAt } = request;
  if (expiresAt !== null && expiresAt <= directory.clock.now()) {
    return refused(badRequest("Invalid input for field 'expires_at': it is not in the future."));
  }
  const scope = { kind: 'project', id: projectId } as const;
  const all = await effectiveRolesIn(directory, userId, scope);
  const own = request.through
    ? all.filter(({ id }) => request.through?.roleIds.includes(id))
    : await rolesIn(directory, userId, scope);
  const held = request.through ? await withImpliedRoles(directory, own) : all;
  const asked = request.roles?.map((each) => roleIn(held, each)) ?? own;
  const roles = asked.filter((role) => role !== undefined);
  if (roles.length === 0 || roles.length < asked.length) {
    const message = 'Invalid application credential: Could not find role assignment of the user in the project.';
    return refused(badRequest(message));
  }
  const roleIds = [...new Set(roles.map((role) => role.id))];
  const secret = request.secret ?? randomBytes(64).toString('base64url');
  const hash = await hashPassword(secret);
  const result = await directory.change(async (trx) => {
    const { existing } = await trx
      .selectFrom('application_credentials')
      .select((eb) => eb.fn.countAll<number>().as('existing'))
      .where('user_id', '=', userId)
      .executeTakeFirstOrThrow();
    if (Number(existing) >= MAX_PER_USER) return refused(forbidden(tooMany));
    const row = await trx
      .insertInto('application_credentials')
      .values({
        ...{ id: newIdentityId(), user_id: userId, project_id: projectId, name, description: request.description },
        ...{ secret_hash: hash, unrestricted: request.unrestricted ? 1 : 0 },
        ...{ expires_at: expiresAt, expires_micros: request.expiresMicros ?? 0 },
        ...{ roles_json: JSON.stringify(roleIds), created_at: directory.clock.now() },
      })
      .onConflict((on) => on.columns(['user_id', 'name']).doNothing())
      .returningAll()
      .executeTakeFirst();
    if (!row) {
      return refused(
        conflict(
          'Conflict occurred attempting to store application_credential - Duplicate entry found with name ' +
            `${name} at user ID ${userId}.`,
        ),
      );
    }
    return ok({ credential: credentialOf(row), secret });
  });
  if (result.kind === 'ok') {
    directory.passwords.remember(`application credential ${result.value.credential.id}`, hash, secret);
  }
  return result;
}

const tooMany = `Unable to create additional application credentials, maximum of ${MAX_PER_USER} already exceeded for user.`;

const roleIn = (held: readonly Role[], { id, name }: Selector): Role | undefined =>
  held.find((role) => (id === undefined ? role.name === name : role.id === id));

export async function deleteCredential(directory: Directory, id: string): Promise<void> {
  await directory.change(async (trx) => {
    await trx.deleteFrom('application_credentials').where('id', '=', id).execute();
    return ok(null);
  });
}
