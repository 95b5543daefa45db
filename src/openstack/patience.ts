// How often a service is asked, and when it is left alone: retries and a circuit breaker, by the library cockatiel.
//
// Theory of operation. One Patience per service. What may be repeated is tried ATTEMPTS times, with a growing, random
// pause between; what may not (it might happen twice) once. Each attempt passes the breaker: after BREAK_AFTER failures
// in a row it is open, and nothing is asked for half-open's while; then one request tries, and decides. An open breaker
// is not waited for: the caller is told at once. Only ServiceDown counts as failure, and not
// when the service was not asked: a service that refuses works.
import {
  BrokenCircuitError,
  ConsecutiveBreaker,
  circuitBreaker,
  ExponentialBackoff,
  handleType,
  retry,
} from 'cockatiel';
import { NotAsked, ServiceDown } from './transport.ts';

const ATTEMPTS = 3;
const BREAK_AFTER = 5;
const DEFAULTS = { pauseMs: 200, halfOpenAfterMs: 10_000 };

export interface PatienceOptions {
  /** First pause between two attempts, about, in ms. */
  readonly pauseMs: number;
  /** For how long an open breaker keeps everybody off, in ms. */
  readonly halfOpenAfterMs: number;
}

export interface Patience {
  /** @throws ServiceDown when no attempt was of use, or the breaker is open */
  attempt<T>(repeatable: boolean, work: () => Promise<T>): Promise<T>;
}

/** @param onChange is told when the breaker opens and closes */
export function patienceWith(
  service: string,
  onChange: (open: boolean) => void,
  { pauseMs, halfOpenAfterMs }: PatienceOptions = DEFAULTS,
): Patience {
  const down = handleType(ServiceDown, (error) => !(error instanceof NotAsked));
  const breaker = circuitBreaker(down, {
    halfOpenAfter: halfOpenAfterMs,
    breaker: new ConsecutiveBreaker(BREAK_AFTER),
  });
  breaker.onBreak(() => onChange(true));
  breaker.onReset(() => onChange(false));
  const backoff = new ExponentialBackoff({ initialDelay: pauseMs, maxDelay: 10 * pauseMs });
  const again = retry(down, { maxAttempts: ATTEMPTS - 1, backoff });
  return {
    async attempt(repeatable, work) {
      const once = () => breaker.execute(work);
      try {
        return await (repeatable ? again.execute(once) : once());
      } catch (error) {
        if (!(error instanceof BrokenCircuitError)) throw error;
        throw new ServiceDown(
          `the ${service} service failed ${BREAK_AFTER} times in a row and is left alone for a while`,
        );
      }
    },
  };
}
