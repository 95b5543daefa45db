// docs/proof.md as text, from the results of the runs. Pure.

export interface MatrixCell {
  readonly move: string;
  readonly step: string;
  readonly direction: 'do' | 'undo';
  readonly fault: string;
  /** What it came to, or `n/a: …`. */
  readonly end: string;
}

/** Pairs of faults in one move: how many were tried, of how many, and how often they came to which end. */
export interface PairsOfMove {
  readonly move: string;
  readonly seed: number;
  readonly tried: number;
  readonly all: number;
  readonly ends: Readonly<Record<string, number>>;
}

export interface Simulated {
  readonly seed: number;
  readonly schedules: number;
  readonly seconds: number;
  readonly counts: {
    readonly requests: number;
    readonly accepted: number;
    readonly steps: number;
    readonly faults: number;
    readonly virtualMs: number;
  };
  readonly digest: string;
  readonly failure: {
    readonly seed: number;
    readonly violations: readonly string[];
    readonly events: number;
    readonly shortest: readonly number[];
    readonly command: string;
  } | null;
}

export interface FireResult {
  readonly backing: string;
  readonly victim: string;
  readonly step: string;
  readonly moment: string;
  readonly killed: boolean;
  readonly end: string;
}

export interface Fire {
  readonly seed: number;
  readonly results: readonly FireResult[];
  readonly watched: {
    readonly looks: number;
    readonly lives: number;
    readonly longestPauseMs: number;
    readonly breaches: readonly string[];
  };
  readonly left: readonly string[];
}

const caseOf = ({ backing, victim, step, moment }: FireResult): string => [backing, victim, step, moment].join();

/**
 * The kills of one seed, of which each of the parts played some; each part had a watcher of its own. A case that several
 * have played counts once, as the last of them tells.
 */
export function fireOfParts(parts: readonly Fire[]): Fire {
  const [first] = parts;
  if (!first || parts.some((each) => each.seed !== first.seed)) throw new Error('these are not the parts of one run');
  const watched = parts.map((each) => each.watched);
  const sum = (numbers: readonly number[]): number => numbers.reduce((all, each) => all + each, 0);
  return {
    seed: first.seed,
    results: [...new Map(parts.flatMap((each) => each.results).map((each) => [caseOf(each), each])).values()],
    watched: {
      looks: sum(watched.map((each) => each.looks)),
      lives: sum(watched.map((each) => each.lives)),
      longestPauseMs: Math.max(...watched.map((each) => each.longestPauseMs)),
      breaches: watched.flatMap((each) => each.breaches),
    },
    left: parts.flatMap((each) => each.left),
  };
}

/** A run and the command that repeats it. */
export interface Run<T> {
  readonly command: string;
  readonly result: T;
}

export interface Proof {
  /** The day, e.g. 2026-11-22. */
  readonly date: string;
  /** Processors, memory, Node.js, QEMU. */
  readonly machine: string;
  /** What was run; `-dirty` behind it: with changes. */
  readonly commit: string;
  readonly matrix: Run<readonly MatrixCell[]>;
  readonly pairs: Run<readonly PairsOfMove[]>;
  readonly simulation: Run<Simulated>;
  readonly without: readonly (Run<Simulated> & { readonly part: string; readonly means: string })[];
  /** Null: no QEMU where the page was made. `cases`: as many as there are; `beforehand`: these were reported. */
  readonly fire: (Run<Fire> & { readonly cases: number; readonly beforehand: boolean }) | null;
}

/** Every end has a sign of one or two letters, so that a table stays readable. */
const SIGNS: Readonly<Record<string, string>> = {
  unwound: 'back',
  'went forward': 'on',
  'unwound after retry': 'back*',
  'went forward after retry': 'on*',
  refused: '409',
};

const signOf = (end: string): string => (end.startsWith('n/a') ? '–' : (SIGNS[end] ?? end));

export function pageOf(proof: Proof): string {
  return `${[
    '# Proof',
    '',
    `Made by \`make proof\` on ${proof.date}, on ${proof.machine}, from commit \`${proof.commit}\`.`,
    'Nothing here is written by hand: every figure is followed by the command that repeats it, at that commit: whatever is',
    'changed in the moves or in the simulation makes other schedules of the same seeds. What is promised, and how each',
    'failure is met, is told in the [failure model](failure-model.md).',
    '',
    ...matrix(proof.matrix),
    ...pairs(proof.pairs),
    ...simulation(proof.simulation),
    ...without(proof.without),
    ...fire(proof.fire),
  ].join('\n')}\n`;
}

const repeats = (command: string): string[] => ['', `Repeat: \`${command}\``, ''];

function matrix({ command, result }: Run<readonly MatrixCell[]>): string[] {
  const tried = result.filter(({ end }) => !end.startsWith('n/a'));
  const moves = unique(result.map(({ move }) => move));
  const faults = unique(result.map(({ fault }) => fault));
  return [
    '## Every step under every fault',
    '',
    `${tried.length} runs of ${moves.length} moves, each to its end. In every one of them all invariants held afterwards, no`,
    'server that had been built was in ERROR, and where the move turned back the world equalled that of before, history aside. *on*: it went',
    'forward to its end. *back*: it unwound. *\\**: it stopped as stuck, with the reason and what to do on its card, and',
    'ended so after the operator had it tried again. *409*: the request was refused. *–*: there is nothing to try. Left the',
    'fault in doing the step, right of the slash in undoing it.',
    ...repeats(command),
    ...moves.flatMap((move) => {
      const cells = result.filter((cell) => cell.move === move);
      const sign = (step: string, fault: string, direction: string): string =>
        signOf(cells.find((c) => c.step === step && c.fault === fault && c.direction === direction)?.end ?? 'n/a');
      const rows = unique(cells.map(({ step }) => step)).map((step) => [
        step,
        ...faults.map((fault) => `${sign(step, fault, 'do')} / ${sign(step, fault, 'undo')}`),
      ]);
      return [`### ${move}`, '', ...table(['step', ...faults], rows), ''];
    }),
  ];
}

function pairs({ command, result }: Run<readonly PairsOfMove[]>): string[] {
  const ends = unique(result.flatMap((each) => Object.keys(each.ends)));
  const sum = (count: (each: PairsOfMove) => number): string =>
    number(result.reduce((all, each) => all + count(each), 0));
  return [
    '## Two faults',
    '',
    `A fault at a step and another at that step or a later one, or in undoing what the first one brought about:`,
    `${sum(({ tried }) => tried)} of ${sum(({ all }) => all)} pairs, chosen by seed, with the same promises held after each.`,
    '`make test-long` tries all of them.',
    '',
    ...table(
      ['move', 'pairs', 'of', ...ends],
      result.map(({ move, tried, all, ends: came }) => [
        ...[move, number(tried), number(all)],
        ...ends.map((end) => number(came[end] ?? 0)),
      ]),
    ),
    ...repeats(command),
  ];
}

function simulation({ command, result }: Run<Simulated>): string[] {
  const { schedules, seed, counts, seconds, digest, failure } = result;
  const hours = Math.round(counts.virtualMs / 3_600_000);
  return [
    '## Simulation',
    '',
    `${number(schedules)} schedules, seeds ${seed} to ${seed + schedules - 1}: ${number(counts.requests)} requests`,
    `(${number(counts.accepted)} accepted), ${number(counts.steps)} steps of sagas, ${number(counts.faults)} faults,`,
    `${number(hours)} virtual hours, in ${number(Math.round(seconds))} s. ${failure === null ? 'No violation.' : `**Seed ${failure.seed} fails: ${failure.violations.join('; ')}.**`}`,
    `Digest of all traces: \`${digest.slice(0, 16)}\`.`,
    ...repeats(command),
  ];
}

function without(runs: Proof['without']): string[] {
  const rows = runs.map(({ part, means, command, result: { schedules, failure } }) => [
    `${part}: ${means}`,
    failure === null ? `**not found in ${number(schedules)} schedules**` : `found after ${number(schedules)}`,
    failure === null ? '–' : (failure.violations[0] ?? '–'),
    failure === null ? '–' : `${failure.shortest.length} of ${failure.events}`,
    `\`${failure?.command ?? command}\``,
  ]);
  return [
    '## Safety switched off',
    '',
    'A check that cannot fail proves nothing. With one part of the safety taken away, from outside the product, the same',
    'search must find a violation; the command replays the shortest trace that was found.',
    '',
    ...table(['what is off', 'schedules', 'violation', 'events needed', 'replay'], rows),
    '',
  ];
}

function fire(run: Proof['fire']): string[] {
  const title = ['## Real parts under fire', ''];
  if (run === null) return [...title, 'Not run: no QEMU where this page was made.', ''];
  const { command, result, cases: all } = run;
  const { looks, lives, longestPauseMs, breaches } = result.watched;
  const rows = unique(result.results.map((each) => `${each.backing}\t${each.victim}`)).map((key) => {
    const [backing = '', victim = ''] = key.split('\t');
    const played = result.results.filter((each) => each.backing === backing && each.victim === victim);
    const cases = played.filter(({ killed }) => killed);
    const count = (end: string): string => String(cases.filter((each) => each.end === end).length);
    return [backing, victim, String(cases.length), count('forward'), count('back'), count('not begun')];
  });
  return [
    ...title,
    `Real QEMU guests that keep a journal, moved between two cells while one part is killed with SIGKILL at a step: seed`,
    `${result.seed}, ${result.results.length} of the ${all} cases there are; in ${result.results.filter(({ killed }) => killed).length} the part was there to be killed.`,
    'The watcher, a process of its own that samples processes and connections, looked',
    `${number(looks)} times (longest pause ${longestPauseMs} ms), saw ${lives} lives of guests and ${breaches.length === 0 ? 'never two of one server' : `**${breaches.join('; ')}**`}.`,
    ...(run.beforehand
      ? ['They were played in parts before this page was made, some of them at earlier commits.']
      : []),
    `Left running at the end: ${result.left.length === 0 ? 'nothing' : `**${result.left.join('; ')}**`}. Every journal was an unbroken chain.`,
    '',
    ...table(['root disk', 'killed', 'kills', 'went forward', 'turned back', 'not begun'], rows),
    ...repeats(command),
  ];
}

const unique = (items: readonly string[]): string[] => [...new Set(items)];
const number = (value: number): string => value.toLocaleString('en-GB');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}
