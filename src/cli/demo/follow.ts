// Asking for a move and following it: status changes, progress of the copy, and its steps with times at the end.
import { systemClock } from '../../lib/clock.ts';
import type { MoveView } from './cloud.ts';
import { type Bar, mebibytes, seconds } from './printer.ts';
import type { DemoServer } from './servers.ts';
import { Interrupted, TimedOut, until } from './wait.ts';
import { SceneFailed, timed, type World } from './world.ts';

export interface Followed {
  readonly move: MoveView;
  /** Status of the server as the API showed it, in order. */
  readonly statuses: readonly string[];
  /** When it was asked for, ms since epoch. */
  readonly askedAt: number;
}

const MOVE_LIMIT_MS = 180_000;
const POLL_MS = 120;
const COPY = 'copy disk';

/** Asks for an action and waits until the saga that carries it out has ended, in whatever way. */
export async function perform(
  w: World,
  server: DemoServer,
  action: string,
  value: object | null = null,
): Promise<Followed> {
  const begun = await begin(w, server, action, value);
  return follow(w, server, begun);
}

export interface Begun {
  readonly id: string;
  readonly askedAt: number;
  readonly statuses: string[];
}

/** Asks for an action; the id of the saga that carries it out. */
export async function begin(w: World, server: DemoServer, action: string, value: object | null = null): Promise<Begun> {
  const known = new Set((await w.cloud.moves(server.id)).map((each) => each.id));
  const statuses = [(await w.cloud.server(server.id)).status];
  const askedAt = systemClock.now();
  await w.cloud.act(server.id, action, value);
  const id = await until(async () => (await w.cloud.moves(server.id)).find((each) => !known.has(each.id))?.id ?? null, {
    what: `${action} to begin`,
    limitMs: 10_000,
    signal: w.signal,
  });
  return { id, askedAt, statuses };
}

/** Waits until the move has ended. */
export async function follow(w: World, server: DemoServer, begun: Begun): Promise<Followed> {
  const ended = await watchUntil(w, server, begun, (move) => move.status !== 'active');
  w.print.say(
    `status ${begun.statuses.join(' → ')}  (${ended.move} took ${seconds((ended.endedAt ?? 0) - ended.createdAt)})`,
  );
  if (ended.status === 'stuck') throw new SceneFailed(`${ended.move} is stuck: ${ended.reason}`);
  return { move: ended, statuses: begun.statuses, askedAt: begun.askedAt };
}

/** Looks at the move again and again until `enough`; keeps the server's status changes and shows the copy. */
export async function watchUntil(
  w: World,
  server: DemoServer,
  begun: Begun,
  enough: (move: MoveView) => boolean,
): Promise<MoveView> {
  const giveUp = systemClock.now() + MOVE_LIMIT_MS;
  const copy = new CopyBar(w);
  const look = async (): Promise<MoveView> => {
    for (;;) {
      const [move, view] = await Promise.all([w.cloud.move(begun.id), w.cloud.server(server.id)]);
      if (begun.statuses.at(-1) !== view.status) begun.statuses.push(view.status);
      copy.show(move);
      if (enough(move)) return move;
      if (w.signal.aborted) throw new Interrupted();
      if (systemClock.now() > giveUp) throw new TimedOut(`${move.move} is still at '${move.step}' after three minutes`);
      await systemClock.sleep(POLL_MS, w.signal);
    }
  };
  try {
    return await timed(w, 'moves', look);
  } finally {
    copy.close();
  }
}

/** The bar of the copy, from the first look that sees the copy to the first that does not. */
class CopyBar {
  readonly #w: World;
  #bar: Bar | null = null;
  #done = 0;
  #total = 0;

  constructor(w: World) {
    this.#w = w;
  }

  show({ step, progress }: MoveView): void {
    if (step === COPY && progress) {
      this.#done = progress.doneBytes;
      this.#total = progress.totalBytes;
      this.#bar ??= this.#w.print.bar('its disk is copied', this.#total);
      this.#bar.update(this.#done, mebibytes(this.#done));
    } else if (this.#bar) {
      this.#done = this.#total;
      this.close();
    }
  }

  close(): void {
    const part = this.#done < this.#total ? `${mebibytes(this.#done)} of ` : '';
    this.#bar?.done(`${part}${mebibytes(this.#total)}`);
    this.#bar = null;
  }
}

/** The steps as a table of two columns of steps. */
export function showSteps(w: World, move: MoveView): void {
  const cells = move.steps.map(({ step, direction, outcome, durationMs, attempts }) => [
    `${direction === 'undo' ? 'undo ' : ''}${step}${outcome === 'failed' ? ' FAILED' : ''}`,
    seconds(durationMs),
    attempts > 1 ? `×${attempts}` : '',
  ]);
  const half = Math.ceil(cells.length / 2);
  w.print.table(cells.slice(0, half).map((left, i) => ['', ...left, '   ', ...(cells[half + i] ?? ['', '', ''])]));
  if (move.copiedBytes !== null) w.print.say(`${mebibytes(move.copiedBytes)} copied from host to host`);
}
