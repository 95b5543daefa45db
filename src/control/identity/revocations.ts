// Tokens that were revoked one by one. What ends all tokens of a user or project is seen from their records.
import { invariant } from '../../lib/errors.ts';
import { type Directory, ok } from './directory.ts';
import type { Claims } from './tokens.ts';

export const isRevoked = (directory: Directory, auditId: string): Promise<boolean> =>
  directory.cached(`revoked ${auditId}`, async () => {
    const row = await directory.db
      .selectFrom('revoked_tokens')
      .select('audit_id')
      .where('audit_id', '=', auditId)
      .executeTakeFirst();
    return row !== undefined;
  });

/**
 * How long after its end a token may still be validated by who asks for that: services that go on with what a user began
 * (Keystone's allow_expired_window).
 */
export const EXPIRED_WINDOW_MS = 48 * 3600_000;

/** Rows are kept until nobody could validate the token any more. */
export async function revokeToken(directory: Directory, { auditId, expiresAt }: Claims): Promise<void> {
  const done = await directory.change(async (trx) => {
    await trx
      .deleteFrom('revoked_tokens')
      .where('expires_at', '<=', directory.clock.now() - EXPIRED_WINDOW_MS)
      .execute();
    await trx
      .insertInto('revoked_tokens')
      .values({ audit_id: auditId, expires_at: expiresAt })
      .onConflict((on) => on.doNothing())
      .execute();
    return ok(null);
  });
  invariant(done.kind === 'ok', 'a revocation is never refused');
}
