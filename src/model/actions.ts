// Which action a server's states allow, and the words of the refusal.
//
// Theory of operation. One table: for each action the vm_states and task_states that allow it, as Nova's decorators
// state them (nova/compute/api.py: check_instance_lock, check_instance_host, check_instance_state). The check is made
// once by the use case for a good message, and again by the compare-and-set that claims the server: only the latter
// decides a race. Differences from Nova: none in what is allowed; a deleted server is simply not found.
import type { Refusal } from './refusal.ts';
import { conflict, notFound } from './refusal.ts';
import type { Server, TaskState, VmState } from './types.ts';

export type ServerAction =
  | 'start'
  | 'stop'
  | 'pause'
  | 'unpause'
  | 'rebuild'
  | 'rescue'
  | 'unrescue'
  | 'suspend'
  | 'resume'
  | 'triggerCrashDump'
  | 'changePassword'
  | 'injectNetworkInfo'
  | 'addFixedIp'
  | 'removeFixedIp'
  | 'evacuate'
  | 'liveMigrate'
  | 'softReboot'
  | 'hardReboot'
  | 'resize'
  | 'migrate'
  | 'confirmResize'
  | 'revertResize'
  | 'delete'
  | 'softDelete'
  | 'restore'
  | 'rename'
  | 'createImage'
  | 'createBackup'
  | 'shelve'
  | 'shelveOffload'
  | 'unshelve'
  | 'updateMetadata'
  | 'deleteMetadata'
  | 'lock'
  | 'unlock'
  | 'getConsoleOutput'
  | 'attachVolume'
  | 'detachVolume'
  | 'updateVolumeAttachment'
  | 'attachInterface'
  | 'detachInterface';

export const SERVER_ACTIONS: readonly ServerAction[] = [
  'start',
  'stop',
  'pause',
  'unpause',
  'rebuild',
  'rescue',
  'unrescue',
  'suspend',
  'resume',
  'triggerCrashDump',
  'changePassword',
  'injectNetworkInfo',
  'addFixedIp',
  'removeFixedIp',
  'evacuate',
  'liveMigrate',
  'softReboot',
  'hardReboot',
  'resize',
  'migrate',
  'confirmResize',
  'revertResize',
  'delete',
  'softDelete',
  'restore',
  'rename',
  'createImage',
  'createBackup',
  'shelve',
  'shelveOffload',
  'unshelve',
  'updateMetadata',
  'deleteMetadata',
  'lock',
  'unlock',
  'getConsoleOutput',
  'attachVolume',
  'detachVolume',
  'updateVolumeAttachment',
  'attachInterface',
  'detachInterface',
];

/** What a rule needs to know of a server. */
export interface ServerState {
  readonly id: string;
  readonly vmState: VmState;
  readonly taskState: TaskState | null;
  /** True once its guest has run (Nova: launched_at is set). */
  readonly launched: boolean;
  readonly locked: boolean;
  /** The host of its guest; null while it has none. */
  readonly host: string | null;
}

/** What the rules look at. */
export const stateOf = (server: Server): ServerState => ({
  id: server.id,
  vmState: server.vmState,
  taskState: server.taskState,
  launched: server.launchedAt !== null,
  locked: server.locked,
  host: server.host,
});

interface ActionRule {
  /** The word in the refusal: "Cannot '<word>' instance …". */
  readonly word: string;
  /** null: any. */
  readonly vmStates: readonly VmState[] | null;
  /** null: any; otherwise the allowed ones, where null stands for "nothing is going on". */
  readonly taskStates: readonly (TaskState | null)[] | null;
  readonly mustHaveLaunched: boolean;
  /** Nova's check_instance_lock: a locked server refuses all but administrators. */
  readonly respectsLock: boolean;
  /** Nova's check_instance_host: the server must have a host. */
  readonly needsHost: boolean;
}

const IDLE: readonly (TaskState | null)[] = [null];
const anyState = { vmStates: null, taskStates: null, mustHaveLaunched: false, needsHost: false } as const;

/** V34: also while a resize waits to be confirmed; and of shelved servers, of which one that was offloaded has no host. */
const VOLUMES_CHANGE = {
  vmStates: ['active', 'stopped', 'resized', 'shelved', 'shelved_offloaded'],
  taskStates: IDLE,
  mustHaveLaunched: true,
  respectsLock: true,
} as const;

const INTERFACES_CHANGE = {
  vmStates: ['active', 'paused', 'stopped'],
  taskStates: IDLE,
  mustHaveLaunched: true,
  respectsLock: true,
  needsHost: true,
} as const;

const RULES: Readonly<Record<ServerAction, ActionRule>> = {
  start: {
    word: 'start',
    vmStates: ['stopped'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  stop: {
    word: 'stop',
    vmStates: ['active', 'error'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  pause: {
    word: 'pause',
    vmStates: ['active'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  unpause: {
    word: 'unpause',
    vmStates: ['paused'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  rebuild: {
    word: 'rebuild',
    vmStates: ['active', 'stopped', 'error'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  rescue: {
    word: 'rescue',
    vmStates: ['active', 'stopped', 'error'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  unrescue: {
    word: 'unrescue',
    vmStates: ['rescued'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  suspend: {
    word: 'suspend',
    vmStates: ['active'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  resume: {
    word: 'resume',
    vmStates: ['suspended'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  triggerCrashDump: {
    word: 'trigger_crash_dump',
    vmStates: ['active', 'paused', 'rescued', 'resized', 'error'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  changePassword: {
    word: 'changePassword',
    vmStates: ['active'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  injectNetworkInfo: { word: 'injectNetworkInfo', ...anyState, respectsLock: true },
  addFixedIp: { word: 'add_fixed_ip', ...anyState, respectsLock: true },
  removeFixedIp: { word: 'remove_fixed_ip', ...anyState, respectsLock: true },
  evacuate: {
    word: 'evacuate',
    vmStates: ['active', 'stopped', 'error'],
    taskStates: null,
    mustHaveLaunched: true,
    respectsLock: false,
    needsHost: true,
  },
  liveMigrate: {
    word: 'os-migrateLive',
    vmStates: ['active', 'paused'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  softReboot: {
    word: 'reboot',
    vmStates: ['active'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  hardReboot: {
    word: 'reboot',
    vmStates: ['active', 'paused', 'suspended', 'stopped', 'error'],
    taskStates: [null, 'rebooting', 'rebooting_hard'],
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  resize: {
    word: 'resize',
    vmStates: ['active', 'stopped'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  migrate: {
    word: 'migrate',
    vmStates: ['active', 'stopped'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: true,
  },
  confirmResize: {
    word: 'confirmResize',
    vmStates: ['resized'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  revertResize: {
    word: 'revertResize',
    vmStates: ['resized'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  delete: { word: 'delete', ...anyState, respectsLock: true },
  // One that never ran is deleted at once instead.
  softDelete: { word: 'delete', ...anyState, mustHaveLaunched: true, respectsLock: true },
  restore: {
    word: 'restore',
    vmStates: ['soft-delete'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  rename: { word: 'update', ...anyState, respectsLock: false },
  createImage: {
    word: 'createImage',
    vmStates: ['active', 'paused', 'suspended', 'stopped'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: false,
    needsHost: false,
  },
  createBackup: {
    word: 'createBackup',
    vmStates: ['active', 'paused', 'suspended', 'stopped'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: false,
    needsHost: false,
  },
  shelve: {
    word: 'shelve',
    vmStates: ['active', 'paused', 'suspended', 'stopped'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  shelveOffload: {
    word: 'shelveOffload',
    vmStates: ['shelved'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  unshelve: {
    word: 'unshelve',
    vmStates: ['shelved', 'shelved_offloaded'],
    taskStates: IDLE,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  updateMetadata: {
    word: 'update metadata',
    vmStates: ['active', 'paused', 'suspended', 'stopped'],
    taskStates: null,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  deleteMetadata: {
    word: 'delete metadata',
    vmStates: ['active', 'paused', 'suspended', 'stopped'],
    taskStates: null,
    mustHaveLaunched: true,
    respectsLock: true,
    needsHost: false,
  },
  lock: { word: 'lock', ...anyState, respectsLock: false },
  unlock: { word: 'unlock', ...anyState, respectsLock: false },
  getConsoleOutput: {
    word: 'get_console_output',
    vmStates: null,
    taskStates: null,
    mustHaveLaunched: false,
    respectsLock: false,
    needsHost: true,
  },
  attachVolume: { word: 'attach_volume', ...VOLUMES_CHANGE, needsHost: false },
  attachInterface: { word: 'attach_interface', ...INTERFACES_CHANGE },
  detachInterface: { word: 'detach_interface', ...INTERFACES_CHANGE },
  detachVolume: { word: 'detach_volume', ...VOLUMES_CHANGE, needsHost: false },
  updateVolumeAttachment: { word: 'update_volume_attachment', ...VOLUMES_CHANGE, taskStates: null, needsHost: false },
};

/** Nova's 409 for a state that does not allow an action (common.py:raise_http_conflict_for_instance_invalid_state). */
export function invalidState(
  word: string,
  id: string,
  attr: 'vm_state' | 'task_state' | 'power state',
  state: string | null,
): Refusal {
  return conflict(
    state === null
      ? `Instance ${id} is in an invalid state for '${word}'`
      : `Cannot '${word}' instance ${id} while it is in ${attr} ${state}`,
  );
}

/** Nova's 404 for a server that is not there, or is not the caller's (InstanceNotFound). */
export const serverNotFound = (id: string): Refusal => notFound(`Instance ${id} could not be found.`);

/** V7: a locked server refuses everyone but administrators (check_instance_lock). */
function checkLock(server: ServerState, admin: boolean): Refusal | null {
  return server.locked && !admin ? conflict(`Instance ${server.id} is locked`) : null;
}

/** V8, first half: the server must have a host (check_instance_host). */
export function checkHasHost(server: ServerState): Refusal | null {
  return server.host === null ? conflict(`Instance ${server.id} is not ready`) : null;
}

/** V8, second half: the host's compute service must be up; a disabled one that is up will do. */
export function checkServiceUp(up: boolean): Refusal | null {
  return up ? null : conflict('Service is unavailable at this time.');
}

/**
 * V6, V7, V34 and the first half of V8: whether the server's states allow `action`, null if they do. Checked in Nova's
 * order: lock, host, vm_state, task_state, launched. Which states an action needs is in the table above.
 */
export function checkAction(action: ServerAction, server: ServerState, admin: boolean): Refusal | null {
  const rule = RULES[action];
  if (server.vmState === 'deleted') return serverNotFound(server.id);
  if (rule.respectsLock) {
    const locked = checkLock(server, admin);
    if (locked !== null) return locked;
  }
  // A move checks the state first and the host second (the order of Nova's decorators on resize).
  const moves = action === 'resize' || action === 'migrate';
  if (rule.needsHost && !moves) {
    const homeless = checkHasHost(server);
    if (homeless !== null) return homeless;
  }
  if (rule.vmStates !== null && !rule.vmStates.includes(server.vmState)) {
    return invalidState(rule.word, server.id, 'vm_state', server.vmState);
  }
  if (rule.taskStates !== null && !rule.taskStates.includes(server.taskState)) {
    return invalidState(rule.word, server.id, 'task_state', server.taskState);
  }
  if (rule.mustHaveLaunched && !server.launched) return invalidState(rule.word, server.id, 'vm_state', null);
  return moves ? checkHasHost(server) : null;
}

/**
 * Whether a server's tags may change: as its metadata, but locked or not (nova/api/openstack/compute/server_tags.py).
 * @param doing in Nova's words: `update tag`, `delete tags`, …
 */
export const checkTagging = (doing: string, server: ServerState): Refusal | null =>
  RULES.updateMetadata.vmStates?.includes(server.vmState) === false
    ? invalidState(doing, server.id, 'vm_state', server.vmState)
    : null;

/** The actions that a server's states allow an ordinary or an administrative caller. */
export function allowedActions(server: ServerState, admin: boolean): readonly ServerAction[] {
  return SERVER_ACTIONS.filter((action) => checkAction(action, server, admin) === null);
}
