// Where each step of each move works: at the move's source, at its target, at the one host of a move that has one, or in
// the global database alone. For people who look at a failed step; a test holds this table against the moves.
import type { State } from '../saga/types.ts';

export type Role = 'source' | 'target' | 'host' | 'global';

const POWER = { 'take hold': 'host', 'turn off': 'host', 'turn on': 'host', 'let go': 'host' } as const;

export const ROLES: Readonly<Record<string, Readonly<Record<string, Role>>>> = {
  create: {
    'reserve room and ports': 'global',
    'write record': 'host',
    'prepare host': 'host',
    'start guest': 'host',
    'set generation': 'host',
    'let go': 'host',
  },
  start: POWER,
  stop: POWER,
  resume: POWER,
  reboot: POWER,
  resize: {
    'take hold': 'source',
    'open migration': 'global',
    'hold source room': 'global',
    'choose target': 'global',
    'bind ports': 'global',
    'prepare target': 'target',
    'stop source': 'source',
    'open export': 'source',
    'copy disk': 'target',
    'compare digests': 'target',
    'close export': 'source',
    'grow disk': 'target',
    'hand over ports': 'global',
    'start target': 'target',
    'freeze record': 'source',
    'copy records': 'target',
    'switch home': 'global',
    'keep target': 'target',
    'drop old records': 'source',
    'finish migration': 'global',
    'let go': 'target',
  },
  confirm: {
    'take hold': 'host',
    'mark confirming': 'global',
    'clean source': 'source',
    'unbind source ports': 'global',
    'release source room': 'global',
    'close migration': 'global',
    'let go': 'host',
  },
  revert: {
    'take hold': 'target',
    'mark reverting': 'global',
    'stop target': 'target',
    'hand back ports': 'global',
    'start source': 'source',
    'freeze record': 'target',
    'copy records back': 'source',
    'switch home': 'global',
    'keep source': 'source',
    'drop target records': 'target',
    'take back room': 'global',
    'clean target': 'target',
    'unbind target ports': 'global',
    'close migration': 'global',
    'let go': 'source',
  },
  delete: {
    'take hold': 'host',
    'destroy guest': 'host',
    'destroy old guest': 'source',
    'delete ports': 'global',
    'release room': 'global',
    'close migration': 'global',
    'mark record deleted': 'host',
    'give up home': 'global',
  },
};

export interface StepPlace {
  readonly host: string | null;
  readonly cellId: string | null;
}

/** What the states of the moves say about places, in their several ways. */
type Known = Partial<{
  source: { host: string; cellId: string };
  sourceHost: string;
  open: { sourceHost: string } | null;
  target: { host: string; cellId: string };
  place: { host: string; cellId: string };
  host: string | null;
  cellId: string;
  homeCellId: string;
}>;

/** Null: in the global database alone, or it is not known (yet). */
export function placeOf(move: string, step: string, state: State): StepPlace | null {
  const s = state as unknown as Known;
  switch (ROLES[move]?.[step]) {
    case 'source':
      return known({ host: s.source?.host ?? s.sourceHost ?? s.open?.sourceHost, cellId: s.source?.cellId });
    case 'target':
      return known({ host: s.target?.host, cellId: s.target?.cellId });
    case 'host':
      return known({ host: s.place?.host ?? s.host, cellId: s.place?.cellId ?? s.cellId ?? s.homeCellId });
    default:
      return null;
  }
}

function known(place: { host: string | null | undefined; cellId: string | undefined }): StepPlace | null {
  const { host = null, cellId = null } = place;
  return host === null && cellId === null ? null : { host, cellId };
}
