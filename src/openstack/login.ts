// The service user's token: had by password, kept, and renewed before it ends.
//
// Theory of operation. One token at a time, with the catalog that came with it. Whoever needs one first logs in, and all
// who need one meanwhile wait for that login. It is renewed when RENEW_BEFORE_MS or a tenth of its life are left; when
// Keystone does not answer then, the old one serves on until its end. A service that answers 401 makes it void: Keystone
// may have revoked it. Two requests that were refused with the same token make one login.

import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { jsonOf } from '../lib/answers.ts';
import type { Clock } from '../lib/clock.ts';
import { Catalog } from './catalog.ts';
import type { Patience } from './patience.ts';
import type { OpenstackSettings } from './settings.ts';
import { type Exchanged, exchange, NotAsked, ServiceDown } from './transport.ts';

const RENEW_BEFORE_MS = 5 * 60_000;

const LoginAnswer = Type.Object({
  token: Type.Object({ expires_at: Type.String({ maxLength: 64 }), catalog: Type.Optional(Catalog) }),
});

export interface ServiceToken {
  readonly value: string;
  readonly catalog: Catalog;
}

export interface Login {
  /** @throws NotAsked */
  token(): Promise<ServiceToken>;
  /** The token is of no use any more. */
  drop(token: ServiceToken): void;
}

interface Held extends ServiceToken {
  readonly renewAt: number;
  readonly expiresAt: number;
}

export function createLogin(settings: OpenstackSettings, clock: Clock, keystone: Patience): Login {
  let held: Held | null = null;
  let underWay: Promise<Held> | null = null;

  const renew = (): Promise<Held> => {
    underWay ??= keystone
      .attempt(true, null, async () => heldFrom(await askForToken(settings), clock.now()))
      .then((fresh) => {
        held = fresh;
        return fresh;
      })
      .finally(() => {
        underWay = null;
      });
    return underWay;
  };

  return {
    async token() {
      const old = held;
      if (old !== null && clock.now() < old.renewAt) return old;
      try {
        return await renew();
      } catch (error) {
        if (!(error instanceof ServiceDown)) throw error;
        if (old !== null && old === held && clock.now() < old.expiresAt) return old;
        throw new NotAsked(`the service user has no token: ${error.message}`);
      }
    },
    drop(token) {
      if (held === token) held = null;
    },
  };
}

const askForToken = (settings: OpenstackSettings): Promise<Exchanged> =>
  exchange({
    ...{ method: 'POST', url: `${settings.authUrl}/auth/tokens`, headers: {}, timeoutMs: settings.timeoutMs },
    body: {
      auth: {
        identity: {
          methods: ['password'],
          password: {
            user: { name: settings.username, domain: { name: settings.userDomainName }, password: settings.password },
          },
        },
        scope: { project: { name: settings.projectName, domain: { name: settings.projectDomainName } } },
      },
    },
  });

/** @throws ServiceDown: also when the service user is not let in, for that is the operator's to mend */
function heldFrom({ status, headers, text }: Exchanged, now: number): Held {
  if (status === 401) throw new ServiceDown('Keystone does not let the service user in: 401');
  const value = headers.get('x-subject-token');
  const body: unknown = status === 201 ? jsonOf(text) : null;
  if (value === null || !Value.Check(LoginAnswer, body)) {
    throw new ServiceDown(`Keystone answered a login with ${status}, and not with a token`);
  }
  const expiresAt = Date.parse(body.token.expires_at);
  if (Number.isNaN(expiresAt)) throw new ServiceDown('Keystone issued a token whose end cannot be read');
  const life = expiresAt - now;
  return {
    ...{ value, expiresAt, catalog: body.token.catalog ?? [] },
    renewAt: expiresAt - Math.min(RENEW_BEFORE_MS, life / 10),
  };
}
