// A stage: furnished databases on which one schedule after the other is played; one per thread.
import { messageOf } from '../lib/errors.ts';
import { drawIdsFrom } from '../lib/ids.ts';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { CellDown } from '../store/stores.ts';
import { Databases } from './databases.ts';
import { diceOf, uuidsOf } from './dice.ts';
import { SimImages } from './images.ts';
import type { Plan } from './plan.ts';
import { quietLog } from './quiet-log.ts';
import { type Safety, weaken } from './safety.ts';
import { type Progress, Schedule, type ScheduleResult } from './schedule.ts';
import { type Furniture, furnish, inhabit, SETTINGS, type Shape, type World } from './world.ts';

const START = 1_800_000_000_000;
const FURNISHING_SEED = 20_260_101;

export interface StageOptions {
  readonly shape: Shape;
  readonly conductors: number;
  readonly heartbeatSeconds: number;
  /** Limits of the tenant; see Settings. */
  readonly quota: Readonly<Record<string, number>>;
  readonly without: Safety | null;
}

type Waits = Pick<Plan, 'confirmWindowSeconds' | 'reclaimSeconds' | 'offloadSeconds'>;
const NO_WAITS: Waits = { confirmWindowSeconds: 0, reclaimSeconds: 0, offloadSeconds: 0 };

export class Stage {
  readonly options: StageOptions;
  readonly databases = new Databases();
  readonly #images = new SimImages();
  #furniture: Furniture | null = null;

  private constructor(options: StageOptions) {
    this.options = options;
  }

  static async open(options: StageOptions): Promise<Stage> {
    const stage = new Stage(options);
    drawIdsFrom(uuidsOf(diceOf(FURNISHING_SEED)));
    try {
      stage.#furniture = await furnish(stage.#parts(new VirtualClock(START), NO_WAITS, stage.#images));
    } finally {
      drawIdsFrom(null);
    }
    for (const cellId of stage.#furniture.cells.keys()) stage.databases.open(cellId);
    weaken(stage.databases, options.without);
    stage.databases.mark();
    return stage;
  }

  #parts(
    clock: VirtualClock,
    { confirmWindowSeconds, reclaimSeconds, offloadSeconds }: Waits,
    images: SimImages,
    onError?: (error: unknown) => void,
  ) {
    const { shape, heartbeatSeconds, quota } = this.options;
    return {
      ...{ clock, shape, images, log: quietLog(onError) },
      stores: this.databases.storesFor(
        () => null,
        () => false,
      ),
      settings: {
        ...SETTINGS,
        resizeConfirmWindowSeconds: confirmWindowSeconds,
        reclaimInstanceIntervalSeconds: reclaimSeconds,
        shelvedOffloadTimeSeconds: offloadSeconds,
        ...{ heartbeatSeconds, quota },
        hostDownSeconds: heartbeatSeconds * 3,
      },
    };
  }

  /** @param onProgress told after each event */
  async run(plan: Plan, onProgress?: (progress: Progress) => void): Promise<ScheduleResult> {
    const furniture = this.#furniture;
    if (furniture === null) throw new Error('the stage is not furnished');
    const unexpected: string[] = [];
    const clock = new VirtualClock(START);
    drawIdsFrom(uuidsOf(diceOf(plan.seed, 'ids')));
    try {
      const note = (error: unknown): void => {
        if (!(error instanceof CellDown)) unexpected.push(`unexpected error: ${messageOf(error)}`);
      };
      const world = await inhabit(this.#parts(clock, plan, this.#images.copy(), note), furniture);
      this.#introduce(world);
      const { databases, options } = this;
      const schedule = new Schedule({ databases, options, world, plan, furniture, violations: unexpected });
      return await schedule.run(onProgress);
    } finally {
      drawIdsFrom(null);
      this.databases.reset();
    }
  }

  /** A schedule begins with hosts that are known: to welcome each of them would be much of all that happens in it. */
  #introduce({ hosts, clock }: World): void {
    for (const { name, agent } of hosts.values()) {
      this.databases.rows(
        'update hosts set agent_id = ?, last_seen_at = ?, reconciled = 1 where name = ? returning name',
        ...[agent.id, clock.now(), name],
      );
    }
  }

  close(): void {
    this.databases.close();
  }
}
