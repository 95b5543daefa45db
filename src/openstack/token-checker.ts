// Users' tokens, judged by Keystone, and the judgement remembered for a while.
//
// Theory of operation. A token is asked about with the service user's own. What Keystone says is remembered under the
// token's digest: a good one for the cache's time or until it ends, a bad one for a shorter while, so that a client that
// goes on with it costs Keystone little. Both memories are bounded, the oldest goes first, and they are apart: nobody
// pushes good tokens out with bad ones. Two requests that bring the same unknown token make one question. A revoked token
// is refused when the cache's time is over, at the latest; so is one whose roles have changed. When Keystone does not
// answer, what is remembered counts until its time is over, and nobody else is let in.
import { createHash } from 'node:crypto';
import { type Static, Type } from 'typebox';
import type { Clock } from '../lib/clock.ts';
import type { Principal } from '../model/types.ts';
import type { Session } from './session.ts';
import { ServiceDown } from './transport.ts';

const MAX_REMEMBERED = 20_000;
/** A token that was bad does not become good: only a Keystone that is behind can make it so. */
const BAD_FOR_MS = 10_000;
/** What Keystone says of a token that is none (any more), or that has no shape of one. */
const IS_NO_TOKEN: ReadonlySet<number> = new Set([400, 404]);
/** A header that HTTP does not allow is no token. */
const TOKEN = /^[\x21-\x7e]+$/;

const Text = Type.String({ maxLength: 4096 });
const Scope = Type.Object({ id: Text, domain: Type.Object({ id: Text }) });
const TokenAnswer = Type.Object({
  token: Type.Object({
    user: Type.Object({ id: Text }),
    project: Type.Optional(Scope),
    domain: Type.Optional(Type.Object({ id: Text })),
    system: Type.Optional(Type.Object({ all: Type.Optional(Type.Boolean()) })),
    roles: Type.Optional(Type.Array(Type.Object({ name: Text }), { maxItems: 10_000 })),
    expires_at: Text,
  }),
});
type Token = Static<typeof TokenAnswer>['token'];

export interface TokenChecker {
  /** Null: unknown, malformed, expired or revoked. @throws ServiceDown when Keystone does not answer */
  principalOf(token: string): Promise<Principal | null>;
}

interface Judgement {
  readonly holder: Principal | null;
  readonly until: number;
}

export interface TokenCheckerOptions {
  readonly session: Session;
  readonly clock: Clock;
  /** For how long a judgement is believed, ms. */
  readonly cacheMs: number;
}

export function createTokenChecker({ session, clock, cacheMs }: TokenCheckerOptions): TokenChecker {
  const good = new Map<string, Judgement>();
  const bad = new Map<string, Judgement>();
  const underWay = new Map<string, Promise<Judgement>>();

  async function judge(token: string): Promise<Judgement> {
    const said = await session.ask(TokenAnswer, {
      ...{ service: 'identity', method: 'GET', path: '/auth/tokens?nocatalog' },
      headers: { 'x-subject-token': token },
    });
    const now = clock.now();
    const refused: Judgement = { holder: null, until: now + Math.min(BAD_FOR_MS, cacheMs) };
    if (said.kind === 'refused') {
      if (IS_NO_TOKEN.has(said.status)) return refused;
      // It says something of the service user, or of nothing that is known here: not of this token.
      throw new ServiceDown(`Keystone does not judge tokens: status ${said.status} ${said.message}`);
    }
    const endsAt = Date.parse(said.body.token.expires_at);
    return endsAt > now ? { holder: holderOf(said.body.token), until: Math.min(endsAt, now + cacheMs) } : refused;
  }

  function judgeOnce(key: string, token: string): Promise<Judgement> {
    const other = underWay.get(key);
    if (other) return other;
    const mine = judge(token)
      .then((judgement) => {
        remember(judgement.holder === null ? bad : good, key, judgement);
        return judgement;
      })
      .finally(() => underWay.delete(key));
    underWay.set(key, mine);
    return mine;
  }

  return {
    async principalOf(token) {
      if (!TOKEN.test(token)) return null;
      const key = createHash('sha256').update(token).digest('base64');
      const known = good.get(key) ?? bad.get(key);
      if (known && clock.now() < known.until) return known.holder;
      good.delete(key);
      bad.delete(key);
      return (await judgeOnce(key, token)).holder;
    },
  };
}

function remember(memory: Map<string, Judgement>, key: string, judgement: Judgement): void {
  const oldest = memory.size >= MAX_REMEMBERED ? memory.keys().next().value : undefined;
  if (oldest !== undefined) memory.delete(oldest);
  memory.set(key, judgement);
}

const holderOf = ({ user, project, domain, system, roles }: Token): Principal => ({
  userId: user.id,
  projectId: project?.id ?? null,
  ...(project === undefined ? {} : { projectDomainId: project.domain.id }),
  ...(domain === undefined ? {} : { domainId: domain.id }),
  ...(system?.all === true ? { systemScope: true } : {}),
  roles: (roles ?? []).map(({ name }) => name),
});
