// Who may do what: Nova's default policies for this product's actions, as predicates on roles.
//
// Theory of operation. An actor has the roles of its token. Roles imply each other downwards: admin → manager → member
// → reader (Keystone's default implications), so a token that carries `admin` alone still counts as the rest.
// Ownership is by project. Sources: nova/policies/base.py, servers.py, migrate_server.py.

import type { Refusal } from './refusal.ts';
import { forbidden } from './refusal.ts';
import type { Actor } from './types.ts';
import { isAdmin } from './types.ts';

const RANKS = ['reader', 'member', 'manager', 'admin'] as const;
export type Role = (typeof RANKS)[number];

/** True if the actor has `role` or one that implies it. */
export function hasRole(actor: Actor, role: Role): boolean {
  return RANKS.slice(RANKS.indexOf(role)).some((rank) => actor.roles.includes(rank));
}

const inProject = (actor: Actor, role: Role, projectId: string): boolean =>
  isAdmin(actor) || (actor.projectId === projectId && hasRole(actor, role));

/** Nova's 403 (PolicyNotAuthorized); `action` is the policy's name. */
export const policyRefusal = (action: string): Refusal => forbidden(`Policy doesn't allow ${action} to be performed.`);

/** Changing what belongs to a project: V1's rule, and that of start, stop, reboot, delete, create. */
export const mayWrite = (actor: Actor, projectId: string): boolean => inProject(actor, 'member', projectId);

/** V1: resize, confirm_resize, revert_resize are for a project's members and administrators. */
export function checkResizePolicy(
  actor: Actor,
  projectId: string,
  action: 'resize' | 'confirm_resize' | 'revert_resize',
): Refusal | null {
  return mayWrite(actor, projectId) ? null : policyRefusal(`os_compute_api:servers:${action}`);
}

/** V2: migrate is for a project's managers and administrators; naming the host for administrators alone. */
export function checkMigratePolicy(actor: Actor, projectId: string, host: string | null): Refusal | null {
  if (host !== null) return isAdmin(actor) ? null : policyRefusal('os_compute_api:os-migrate-server:migrate:host');
  return inProject(actor, 'manager', projectId) ? null : policyRefusal('os_compute_api:os-migrate-server:migrate');
}

/** Who may cross cells; `nobody` is Nova's default, `member` is ours: crossing is what the product is for. */
export type CrossCellPolicy = 'nobody' | 'admin' | 'member';

/**
 * V3: whether a resize or migration may leave its cell. Not being allowed is no refusal: the move is then confined to
 * its cell (compute:servers:resize:cross_cell, non-fatal).
 */
export function mayCrossCells(actor: Actor, projectId: string, policy: CrossCellPolicy): boolean {
  switch (policy) {
    case 'nobody':
      return false;
    case 'admin':
      return isAdmin(actor);
    case 'member':
      return mayWrite(actor, projectId);
  }
}
