// Where each step of each move works: at the move's source, at its target, at the one host of a move that has one, in the
// database of the cell of one of these, at storage hosts, or in the global database alone. For people who look at a failed
// step; a test holds this table against the moves. A step may need others as well: a reason says by itself who did not
// answer, and that counts more.
import { assertNever } from '../lib/errors.ts';
import type { State } from '../saga/types.ts';

/** `…-cell`: in the database of its cell; the host itself is not asked. `storage`: at the volumes' storage hosts. */
export type Role = Side | `${Side}-cell` | 'storage' | 'global';
type Side = 'source' | 'target' | 'host';

const POWER = { 'take hold': 'host-cell', 'turn off': 'host', 'turn on': 'host', 'let go': 'host-cell' } as const;

const SNAPSHOT = {
  'take snapshot': 'host',
  'mark uploading': 'host-cell',
  'upload snapshot': 'host',
  'drop snapshot': 'host',
} as const;

const WRITTEN_ANEW = {
  'take hold': 'global',
  'keep old content': 'storage',
  'write volume': 'storage',
  'drop old content': 'storage',
  'let go': 'global',
} as const;

export const ROLES: Readonly<Record<string, Readonly<Record<string, Role>>>> = {
  create: {
    'reserve room and ports': 'global',
    'write record': 'host-cell',
    'make volumes': 'storage',
    'take place': 'global',
    'bind ports': 'global',
    'prepare host': 'host',
    'plug in volumes': 'host',
    'start guest': 'host',
    'keep guest': 'host',
    'settle volumes': 'global',
    'set generation': 'global',
    'unbind tried hosts': 'global',
    'let go': 'host-cell',
  },
  start: POWER,
  stop: POWER,
  resume: POWER,
  reboot: POWER,
  pause: { 'take hold': 'host-cell', 'pause guest': 'host', 'let go': 'host-cell' },
  unpause: { 'take hold': 'host-cell', 'let guest go on': 'host', 'let go': 'host-cell' },
  suspend: { 'take hold': 'host-cell', 'keep memory': 'host', 'let go': 'host-cell' },
  wake: { 'take hold': 'host-cell', 'load memory': 'host', 'let go': 'host-cell' },
  rebuild: {
    'take hold': 'host-cell',
    'make disk': 'host',
    'turn off': 'host',
    'switch disk': 'host',
    'start guest': 'host',
    'note image': 'global',
    'drop old disk': 'host',
    'let go': 'host-cell',
  },
  'rebuild root volume': {
    'claim volume': 'global',
    'take hold': 'host-cell',
    'make disk': 'host',
    'turn off': 'host',
    'switch disk': 'host',
    'keep old content': 'storage',
    'take volume away': 'storage',
    'write volume': 'storage',
    'give volume back': 'host',
    'start guest': 'host',
    'note image': 'global',
    'drop old disk': 'host',
    'drop old content': 'storage',
    'free volume': 'global',
    'let go': 'host-cell',
  },
  rescue: {
    'take hold': 'host-cell',
    'make disk': 'host',
    'turn off': 'host',
    'switch disk': 'host',
    'start guest': 'host',
    'let go': 'host-cell',
  },
  unrescue: {
    'take hold': 'host-cell',
    'turn off': 'host',
    'switch disk': 'host',
    'start guest': 'host',
    'drop disk': 'host',
    'let go': 'host-cell',
  },
  'crash dump': { 'take hold': 'host-cell', 'interrupt guest': 'host', 'let go': 'host-cell' },
  resize: {
    'take hold': 'source-cell',
    'open migration': 'global',
    'hold source room': 'global',
    'choose target': 'global',
    'bind ports': 'global',
    'reserve volumes': 'global',
    'prepare target': 'target',
    'stop source': 'source',
    'open export': 'source',
    'copy disk': 'target',
    'compare digests': 'target',
    'close export': 'source',
    'grow disk': 'target',
    'hand over ports': 'global',
    'hand over volumes': 'storage',
    'start target': 'target',
    'freeze record': 'source-cell',
    'copy records': 'target-cell',
    'switch home': 'global',
    'keep target': 'target',
    'drop old records': 'source-cell',
    'finish migration': 'global',
    'let go': 'target-cell',
  },
  evacuate: {
    'take hold': 'source-cell',
    'open migration': 'global',
    'hold source room': 'global',
    'choose target': 'global',
    'bind ports': 'global',
    'reserve volumes': 'global',
    'prepare target': 'target',
    'shut out source': 'source',
    'hand over ports': 'global',
    'hand over volumes': 'storage',
    'start target': 'target',
    'freeze record': 'source-cell',
    'copy records': 'target-cell',
    'switch home': 'global',
    'keep target': 'target',
    'drop old records': 'source-cell',
    'leave source': 'source',
    'unbind source ports': 'global',
    'drop source attachments': 'global',
    'release source room': 'global',
    'close migration': 'global',
    'let go': 'target-cell',
  },
  confirm: {
    'take hold': 'host-cell',
    'mark confirming': 'global',
    'clean source': 'source',
    'unbind source ports': 'global',
    'drop source attachments': 'global',
    'release source room': 'global',
    'close migration': 'global',
    'let go': 'host-cell',
  },
  revert: {
    'take hold': 'target-cell',
    'mark reverting': 'global',
    'stop target': 'target',
    'hand back ports': 'global',
    'hand back volumes': 'storage',
    'start source': 'source',
    'freeze record': 'target-cell',
    'copy records back': 'source-cell',
    'switch home': 'global',
    'keep source': 'source',
    'drop target records': 'target-cell',
    'take back room': 'global',
    'clean target': 'target',
    'unbind target ports': 'global',
    'drop target attachments': 'global',
    'close migration': 'global',
    'let go': 'source-cell',
  },
  delete: {
    'take hold': 'host-cell',
    'destroy guest': 'host',
    'destroy old guest': 'source',
    'revoke volumes': 'storage',
    'release volumes': 'global',
    'delete volumes': 'storage',
    'delete ports': 'global',
    'release room': 'global',
    'close migration': 'global',
    'mark record deleted': 'host-cell',
    'give up home': 'global',
  },
  'soft delete': { 'take hold': 'host-cell', 'turn off': 'host', 'put aside': 'global', 'let go': 'host-cell' },
  restore: { 'count again': 'global', 'take hold': 'host-cell', 'turn on': 'host', 'let go': 'host-cell' },
  'create image': {
    'write image': 'global',
    'take hold': 'host-cell',
    ...SNAPSHOT,
    'keep image': 'global',
    'let go': 'host-cell',
  },
  'create backup': {
    'write image': 'global',
    'take hold': 'host-cell',
    ...SNAPSHOT,
    'keep image': 'global',
    'rotate backups': 'global',
    'let go': 'host-cell',
  },
  'create image of volumes': {
    'write records': 'global',
    'take hold': 'host-cell',
    'pause guest': 'host',
    'take snapshots': 'storage',
    'let guest go on': 'host',
    'make image': 'global',
    'let go': 'host-cell',
  },
  shelve: {
    'write image': 'global',
    'take hold': 'host-cell',
    'turn off': 'host',
    ...SNAPSHOT,
    'plan offload': 'global',
    'let go': 'host-cell',
  },
  'shelve offload': {
    'take hold': 'host-cell',
    'reserve volumes': 'global',
    'set aside volumes': 'storage',
    'set aside ports': 'global',
    'destroy guest': 'host',
    'unbind ports': 'global',
    'drop attachments': 'global',
    'release room': 'global',
    'let go': 'host-cell',
  },
  unshelve: { 'take hold': 'host-cell', 'turn on': 'host', 'drop image': 'global', 'let go': 'host-cell' },
  'unshelve offloaded': {
    'take hold': 'source-cell',
    'choose target': 'global',
    'bind ports': 'global',
    'reserve volumes': 'global',
    'prepare target': 'target',
    'hand over ports': 'global',
    'hand over volumes': 'storage',
    'start target': 'target',
    'freeze record': 'source-cell',
    'copy records': 'target-cell',
    'switch home': 'global',
    'keep target': 'target',
    'drop old records': 'source-cell',
    'unbind ports': 'global',
    'drop attachments': 'global',
    'drop image': 'global',
    'let go': 'target-cell',
  },
  'attach volume': {
    'claim volume': 'global',
    'take hold': 'host-cell',
    'plug in volume': 'host',
    'settle volume': 'global',
    'let go': 'host-cell',
  },
  'detach volume': {
    'mark detaching': 'global',
    'take hold': 'host-cell',
    'unplug volume': 'host',
    'drop mapping': 'host-cell',
    'revoke access': 'storage',
    'release volume': 'global',
    'let go': 'host-cell',
  },
  'attach interface': {
    'claim port': 'global',
    'take hold': 'host-cell',
    'bind port': 'global',
    'plug in port': 'host',
    'activate port': 'global',
    'let go': 'host-cell',
  },
  'detach interface': {
    'take hold': 'host-cell',
    'unplug port': 'host',
    'release port': 'global',
    'let go': 'host-cell',
  },
  'create volume': { 'write record': 'global', 'make volume': 'storage', 'let go': 'global' },
  'delete volume': { 'take hold': 'global', 'remove volume': 'storage', 'drop record': 'global' },
  'extend volume': { 'take hold': 'global', 'grow volume': 'storage', 'tell guests': 'host', 'let go': 'global' },
  'revert volume': WRITTEN_ANEW,
  'reimage volume': WRITTEN_ANEW,
  'create snapshot': { 'write record': 'global', 'take snapshot': 'storage', 'let go': 'global' },
  'upload volume': { 'write image': 'global', 'send volume': 'storage', 'keep image': 'global', 'let go': 'global' },
  'delete snapshot': { 'take hold': 'global', 'remove snapshot': 'storage', 'drop record': 'global' },
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
  target: { host: string; cellId: string } | null;
  place: { host: string; cellId: string };
  host: string | null;
  cellId: string;
  homeCellId: string;
  storageHost: string;
}>;

/** Null: at storage hosts, in the global database alone, or it is not known (yet). Host null: in the cell's database. */
export function placeOf(move: string, step: string, state: State): StepPlace | null {
  const role = ROLES[move]?.[step];
  switch (role) {
    case 'source':
    case 'target':
    case 'host':
      return known(sideOf(role, state));
    case 'source-cell':
      return known({ ...sideOf('source', state), host: null });
    case 'target-cell':
      return known({ ...sideOf('target', state), host: null });
    case 'host-cell':
      return known({ ...sideOf('host', state), host: null });
    case 'storage':
      return known({ host: (state as unknown as Known).storageHost });
    case 'global':
    case undefined:
      return null;
    default:
      return assertNever(role);
  }
}

/** The place that a reason names by itself; null: it names none. Hosts are named by context.ts, cells by `CellDown`. */
export function placeIn(reason: string): StepPlace | null {
  const [, cellId] = /^the database of cell (\S+) cannot be reached/.exec(reason) ?? [];
  if (cellId !== undefined) return { host: null, cellId };
  const [, host] =
    /^(?:storage )?host ([^\s:]+)(?:: | unreachable: | is down$| has no such volume$)/.exec(reason) ?? [];
  return host === undefined ? null : { host, cellId: null };
}

/** Whether this reason names a place where what the move has chosen has no part: another choice would not help. */
export function failedElsewhere(reason: string, state: State): boolean {
  const place = placeIn(reason);
  const { target, place: chosen = target } = state as unknown as Known;
  if (place === null || chosen === null || chosen === undefined) return false;
  return place.host === null ? place.cellId !== chosen.cellId : place.host !== chosen.host;
}

interface Found {
  readonly host?: string | null | undefined;
  readonly cellId?: string | undefined;
}

function sideOf(side: Side, state: State): Found {
  const s = state as unknown as Known;
  switch (side) {
    case 'source':
      return { host: s.source?.host ?? s.sourceHost ?? s.open?.sourceHost, cellId: s.source?.cellId };
    case 'target':
      return { host: s.target?.host, cellId: s.target?.cellId };
    case 'host':
      return { host: s.place?.host ?? s.host, cellId: s.place?.cellId ?? s.cellId ?? s.homeCellId };
    default:
      return assertNever(side);
  }
}

function known({ host, cellId }: Found): StepPlace | null {
  const place = { host: host ?? null, cellId: cellId ?? null };
  return place.host === null && place.cellId === null ? null : place;
}
