// `crosscell moves`: an operator's hands on moves, through the API and with its rights. Exit status 0: done; 1: the API
// refused, and its sentence says why; 2: wrong usage.
import type { FailureCard } from '../moves/failure-card.ts';
import type { MoveView } from '../moves/view.ts';
import { ApiClient, sentenceOf } from './client.ts';
import { credentialsOf } from './clouds.ts';

export interface MovesOptions {
  readonly data?: string;
  readonly cloud: string;
  readonly server?: string;
  readonly status?: string;
  readonly limit: number;
  readonly json: boolean;
}

interface Shown {
  readonly move: MoveView;
  readonly failure: FailureCard | null;
}

const MOVES = '/crosscell/v1/moves';

export async function movesCommand(
  verb: string,
  id: string | undefined,
  step: string | undefined,
  options: MovesOptions,
): Promise<number> {
  const wrong = wrongUsage(verb, id, step);
  if (wrong !== null) {
    process.stderr.write(`crosscell: ${wrong}\n`);
    return 2;
  }
  const api = new ApiClient(credentialsOf(options.data, options.cloud, process.env));
  try {
    await api.login();
    process.stdout.write(await carriedOut(api, verb, id ?? '', step, options));
    return 0;
  } catch (error) {
    process.stderr.write(`crosscell: ${sentenceOf(error)}\n`);
    return 1;
  }
}

function wrongUsage(verb: string, id: string | undefined, step: string | undefined): string | null {
  if (verb === 'list') return id === undefined ? null : 'moves list takes no id (see --server and --status)';
  if (id === undefined) return `moves ${verb} needs the id of a move`;
  if (verb === 'skip')
    return step === undefined ? 'moves skip needs the name of the stuck step as a confirmation' : null;
  return step === undefined ? null : `moves ${verb} takes no step`;
}

async function carriedOut(
  api: ApiClient,
  verb: string,
  id: string,
  step: string | undefined,
  options: MovesOptions,
): Promise<string> {
  if (verb === 'list') {
    const query = new URLSearchParams({ limit: String(options.limit) });
    if (options.server !== undefined) query.set('server_id', options.server);
    if (options.status !== undefined) query.set('status', options.status);
    const page = await api.call<{ moves: readonly MoveView[] }>('GET', `${MOVES}?${query}`);
    return options.json ? asJson(page) : listText(page.moves);
  }
  const url = `${MOVES}/${encodeURIComponent(id)}`;
  const shown =
    verb === 'show'
      ? await api.call<Shown>('GET', url)
      : await api.call<Shown>('POST', `${url}/${verb}`, step === undefined ? undefined : { step });
  return options.json ? asJson(shown) : moveText(shown);
}

const asJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
const when = (ms: number): string => new Date(ms).toISOString();

const statusOf = ({ status, direction }: MoveView): string =>
  status === 'active' && direction === 'undo' ? 'active, turning back' : status;

/** What it is at, and, apart from that, why it turned back or is stuck. */
function nowAndWhy({ status, direction, step, steps, reason }: MoveView): string {
  const undoing = direction === 'undo';
  const last = steps.findLast((each) => each.outcome === 'failed');
  const stuck = status === 'stuck' && last ? `${undoing ? 'undo of ' : ''}${last.step}: ${last.note ?? ''}` : null;
  const now = stuck ?? (step !== null && undoing ? `undo of ${step}` : step);
  const why = reason === null || (stuck !== null && !undoing) ? null : undoing ? `turned back: ${reason}` : reason;
  return [now, why].filter((each) => each !== null).join('; ');
}

/** One line per move: id, operation, server, status, step, reason. */
export function listText(moves: readonly MoveView[]): string {
  if (moves.length === 0) return 'no moves\n';
  const lines = moves.map((move) =>
    [move.id, move.move.padEnd(15), move.serverId, statusOf(move).padEnd(8), nowAndWhy(move)].join('  ').trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

/** The move, its steps, and its failure card. */
function moveText({ move, failure }: Shown): string {
  const places = move.source && move.target ? ` from ${move.source.host} to ${move.target.host}` : '';
  const lines = [
    `${move.move} of server ${move.serverId}${places}: ${statusOf(move)}`,
    `  id ${move.id}, begun ${when(move.createdAt)}${move.endedAt === null ? '' : `, ended ${when(move.endedAt)}`}`,
    ...(move.reason === null ? [] : [`  ${move.direction === 'undo' ? 'turned back' : 'reason'}: ${move.reason}`]),
    '',
    ...move.steps.map((step) => {
      const name = `${step.direction === 'undo' ? 'undo ' : ''}${step.step}`;
      const times = step.attempts > 1 ? ` (${step.attempts} times)` : '';
      const by = step.by === null ? '' : ` by ${step.by}`;
      const note = step.note === null ? '' : `: ${step.note}`;
      return `  ${when(step.startedAt)}  ${name.padEnd(24)} ${step.outcome}${times}${by}${note}`;
    }),
  ];
  return `${[...lines, ...(failure === null ? [] : cardLines(failure))].join('\n')}\n`;
}

const owedText = ({ reason, where, since, lastError }: FailureCard['owed'][number]): string =>
  `${reason}, at ${where}, since ${when(since)}${lastError === null ? '' : `; refused: ${lastError}`}`;

function cardLines(card: FailureCard): string[] {
  const { failed } = card;
  const where = [failed?.host, failed?.cell].filter((each) => each !== null && each !== undefined).join(', cell ');
  const line = (title: string, items: readonly string[]): string[] =>
    items.length === 0 ? [] : [`  ${title.padEnd(10)} ${items.join(', ')}`];
  return [
    '',
    ...(failed === null
      ? []
      : line('failed', [
          `${failed.direction === 'undo' ? 'undo of ' : ''}${failed.step}: ${failed.reason} (${failed.attempts === 1 ? 'once,' : `${failed.attempts} times, last`} ${when(failed.lastAt)})`,
        ])),
    ...line('where', where === '' ? [] : [where]),
    ...line('cancelled', card.cancelledBy === null ? [] : [`by ${card.cancelledBy}`]),
    ...card.tried.flatMap(({ host, reason }) => line('tried', [`${host}: ${reason}`])),
    ...line('undone', card.undone),
    ...line('to undo', card.toUndo),
    ...line('skipped', card.skipped),
    ...card.owed.flatMap((debt) => line('owed', [owedText(debt)])),
    ...line('what to do', [card.advice]),
  ];
}
