// Audits that a control plane makes on demand, one at a time.
//
// Theory of operation. none → running → done | failed → running … The newest that has ended is kept whole, in memory, until
// the next has ended; every process that serves the API has its own. A run is not stopped by anything but the end of the
// process: it writes nothing, or what each repair writes is whole by itself.
import type { Platform } from '../control/platform.ts';
import { messageOf } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { audit } from './audit.ts';
import type { AuditReport } from './tally.ts';

export interface EndedRun {
  readonly id: string;
  readonly repair: boolean;
  /** ms since epoch. */
  readonly startedAt: number;
  readonly endedAt: number;
  /** Null: it failed, and `reason` says why. */
  readonly report: AuditReport | null;
  readonly reason: string | null;
}

export type RunUnderWay = Pick<EndedRun, 'id' | 'repair' | 'startedAt'>;

export class AuditRuns {
  #running: RunUnderWay | null = null;
  #ended: EndedRun | null = null;

  /** The newest run that has ended. */
  get ended(): EndedRun | null {
    return this.#ended;
  }

  get running(): RunUnderWay | null {
    return this.#running;
  }

  /** Begins a run; null when one is under way. */
  start(p: Platform, repair: boolean): RunUnderWay | null {
    if (this.#running) return null;
    const run = { id: newId(), repair, startedAt: p.clock.now() };
    this.#running = run;
    void this.#make(p, run);
    return run;
  }

  async #make(p: Platform, run: RunUnderWay): Promise<void> {
    const end = (came: Pick<EndedRun, 'report' | 'reason'>): void => {
      this.#ended = { ...run, endedAt: p.clock.now(), ...came };
      this.#running = null;
    };
    try {
      end({ report: await audit(p, { repair: run.repair }), reason: null });
    } catch (error) {
      p.log.error({ err: error }, 'the audit failed');
      end({ report: null, reason: messageOf(error) });
    }
  }
}
