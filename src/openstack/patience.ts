// How often a service is asked, and when it is left alone: retries and a circuit breaker, by the library cockatiel.
//
// Theory of operation. One Patience per service. What may be repeated is tried ATTEMPTS times, with a growing, random
// pause between; what may not (it might happen twice) once. Each attempt passes the breaker: after BREAK_AFTER failures
// in a row, with MIN_SUBJECTS different things, it is open, and nothing is asked for half-open's while; then one request
// tries, and decides. An open breaker is not waited for: the caller is told at once. Only ServiceDown counts as failure,
// and not when the service was not asked, or stumbled over one thing: a service that refuses works, and one lost image
// bars nobody's way to the others, however often it is asked for.
import {
  BrokenCircuitError,
  circuitBreaker,
  ExponentialBackoff,
  handleType,
  handleWhen,
  type IBreaker,
  retry,
} from 'cockatiel';
import { NotAsked, ServiceDown, Stumbled } from './transport.ts';

const ATTEMPTS = 3;
const BREAK_AFTER = 5;
const MIN_SUBJECTS = 3;
const DEFAULTS = { pauseMs: 200, halfOpenAfterMs: 10_000 };

export interface PatienceOptions {
  /** First pause between two attempts, about, in ms. */
  readonly pauseMs: number;
  /** For how long an open breaker keeps everybody off, in ms. */
  readonly halfOpenAfterMs: number;
}

export interface Patience {
  /**
   * @param subject the one thing that it is about (an id); null: none that is known, so that each such attempt counts as
   *   one at another
   * @throws ServiceDown when no attempt was of use, or the breaker is open
   */
  attempt<T>(repeatable: boolean, subject: string | null, work: () => Promise<T>): Promise<T>;
}

const isOutage = (error: unknown): boolean =>
  error instanceof ServiceDown && !(error instanceof NotAsked) && !(error instanceof Stumbled);

/** The failures since the last success. */
class Failures implements IBreaker {
  state: unknown;
  readonly #subjects = new Set<string | symbol>();
  #count = 0;
  /** What the failure that comes next, if it is one, is about. */
  note(subject: string | symbol): void {
    this.#subjects.add(subject);
  }
  success(): void {
    this.#subjects.clear();
    this.#count = 0;
  }
  failure(): boolean {
    this.#count += 1;
    return this.#count >= BREAK_AFTER && this.#subjects.size >= MIN_SUBJECTS;
  }
}

/** @param onChange is told when the breaker opens and closes */
export function patienceWith(
  service: string,
  onChange: (open: boolean) => void,
  { pauseMs, halfOpenAfterMs }: PatienceOptions = DEFAULTS,
): Patience {
  const failures = new Failures();
  const breaker = circuitBreaker(handleWhen(isOutage), { halfOpenAfter: halfOpenAfterMs, breaker: failures });
  breaker.onBreak(() => onChange(true));
  breaker.onReset(() => onChange(false));
  const backoff = new ExponentialBackoff({ initialDelay: pauseMs, maxDelay: 10 * pauseMs });
  const down = handleType(ServiceDown, (error) => !(error instanceof NotAsked));
  const again = retry(down, { maxAttempts: ATTEMPTS - 1, backoff });
  return {
    async attempt(repeatable, subject, work) {
      const noted = async () => {
        try {
          return await work();
        } catch (error) {
          if (error instanceof Stumbled) failures.success();
          else failures.note(subject ?? Symbol());
          throw error;
        }
      };
      const once = () => breaker.execute(noted);
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
