// Every move there is. A definition that rows may still carry is kept here until no row of its version is left.
import { invariant } from '../lib/errors.ts';
import type { Definition } from '../saga/types.ts';
import { ATTACH_VOLUME, DETACH_VOLUME } from './attach.ts';
import { CONFIRM } from './confirm.ts';
import { CRASH_DUMP } from './crash-dump.ts';
import { CREATE } from './create.ts';
import { CREATE_BACKUP, CREATE_IMAGE } from './create-image.ts';
import { DELETE } from './delete.ts';
import { EVACUATE } from './evacuate.ts';
import { IMAGE_OF_VOLUMES } from './image-of-volumes.ts';
import { ATTACH_INTERFACE, DETACH_INTERFACE } from './interfaces.ts';
import { type AnyMove, anyMove } from './move.ts';
import { PAUSE, REBOOT, RESUME, START, STOP, SUSPEND, UNPAUSE, WAKE } from './power.ts';
import { REBUILD } from './rebuild.ts';
import { REBUILD_VOLUME } from './rebuild-volume.ts';
import { RESCUE, UNRESCUE } from './rescue.ts';
import { RESIZE } from './resize.ts';
import { REVERT } from './revert.ts';
import { SHELVE, SHELVE_OFFLOAD } from './shelve.ts';
import { RESTORE, SOFT_DELETE } from './soft-delete.ts';
import { UNSHELVE, UNSHELVE_OFFLOADED } from './unshelve.ts';
import { CREATE_VOLUME } from './volumes/create.ts';
import { DELETE_VOLUME } from './volumes/delete.ts';
import { EXTEND_VOLUME } from './volumes/extend.ts';
import { REIMAGE_VOLUME } from './volumes/reimage.ts';
import { REVERT_VOLUME } from './volumes/revert.ts';
import { CREATE_SNAPSHOT, DELETE_SNAPSHOT } from './volumes/snapshots.ts';
import { UPLOAD_VOLUME } from './volumes/upload.ts';

export const MOVES: readonly AnyMove[] = [
  anyMove(CREATE),
  anyMove(START),
  anyMove(STOP),
  anyMove(RESUME),
  anyMove(REBOOT),
  anyMove(PAUSE),
  anyMove(UNPAUSE),
  anyMove(SUSPEND),
  anyMove(WAKE),
  anyMove(CRASH_DUMP),
  anyMove(REBUILD),
  anyMove(REBUILD_VOLUME),
  anyMove(RESCUE),
  anyMove(UNRESCUE),
  anyMove(RESIZE),
  anyMove(EVACUATE),
  anyMove(CONFIRM),
  anyMove(REVERT),
  anyMove(DELETE),
  anyMove(SOFT_DELETE),
  anyMove(RESTORE),
  anyMove(CREATE_IMAGE),
  anyMove(CREATE_BACKUP),
  anyMove(IMAGE_OF_VOLUMES),
  anyMove(SHELVE),
  anyMove(SHELVE_OFFLOAD),
  anyMove(UNSHELVE),
  anyMove(UNSHELVE_OFFLOADED),
  anyMove(ATTACH_VOLUME),
  anyMove(DETACH_VOLUME),
  anyMove(ATTACH_INTERFACE),
  anyMove(DETACH_INTERFACE),
  anyMove(CREATE_VOLUME),
  anyMove(DELETE_VOLUME),
  anyMove(EXTEND_VOLUME),
  anyMove(REVERT_VOLUME),
  anyMove(REIMAGE_VOLUME),
  anyMove(CREATE_SNAPSHOT),
  anyMove(DELETE_SNAPSHOT),
  anyMove(UPLOAD_VOLUME),
];

/** Moves by name and version. */
export interface Registry {
  findDefinition(name: string, version: number): Definition | undefined;
  /** Of a saga whose definition was found. */
  findMove(name: string, version: number): AnyMove;
}

export function registryOf(moves: readonly AnyMove[]): Registry {
  const byVersion = new Map(moves.map((move) => [`${move.definition.name} ${move.definition.version}`, move]));
  invariant(byVersion.size === moves.length, 'each version of a definition is registered once');
  return {
    findDefinition: (name, version) => byVersion.get(`${name} ${version}`)?.definition,
    findMove(name, version) {
      const move = byVersion.get(`${name} ${version}`);
      invariant(move, `no move ${name} of version ${version}`);
      return move;
    },
  };
}

/** What this program knows. */
export const REGISTRY = registryOf(MOVES);
export const { findDefinition, findMove } = REGISTRY;
