// A server's volumes in the moves: who has access to them, and what the guest on each host is told of them.
//
// Which volumes a server has is said by the block device mappings in its home; a saga reads them as it takes hold of the
// server and carries them in its state, for nothing but that saga can change them until it lets go. Where each may be used
// is said by attachments (control/volumes/attachments.ts) in the global database, and enforced by the storage hosts:
// whoever is to have a volume is granted access only when the access of whoever had it has ended. Connections hold keys
// and are never written down by the control plane: granting again answers the same one.
// Without volumes every effect here is done at once, without a statement.
import type { Transaction } from 'kysely';
import { owe } from '../control/debts.ts';
import { hostAnswers } from '../control/hosts.ts';
import {
  activateAttachments,
  dropAttachments,
  renewAttachments,
  reserveAttachments,
} from '../control/volumes/attachment-hosts.ts';
import { type Attachment, attachmentsOfServer, NOWHERE } from '../control/volumes/attachments.ts';
import { isForgotten } from '../control/volumes/lost-storage.ts';
import { mappingsOfServer } from '../control/volumes/mappings.ts';
import { storageHostIsUp } from '../control/volumes/storage-hosts.ts';
import type { Job, Reply } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { nextFence } from '../store/sagas.ts';
import { doomedOr, jobOutcome, settled, unlessDoomed, unlessGone } from './hosts.ts';
import type { StepContext, StepOutcome } from './move.ts';
import { doneBecause, inGlobal } from './outcomes.ts';

/** A block device mapping, as sagas carry it. */
export interface ServerVolume {
  readonly volumeId: string;
  readonly device: string;
  readonly bootIndex: number | null;
  readonly deleteOnTermination: boolean;
}

/** The part of a saga's state that the effects here look at. */
export interface HasVolumes {
  /** Found out by `take hold`. */
  readonly volumes?: readonly ServerVolume[];
}

type C<S extends HasVolumes> = StepContext<S>;

const NONE = doneBecause('has no volumes');

const volumesOf = <S extends HasVolumes>(c: C<S>): readonly ServerVolume[] => c.s.volumes ?? [];

/** False where nothing needs to be done about volumes. */
export const hasVolumes = <S extends HasVolumes>(c: C<S>): boolean => volumesOf(c).length > 0;

/** For `take hold`: what the server has, as its home says. `count`: how many there are. */
export async function volumesHeld(
  trx: Transaction<CellTables>,
  serverId: string,
  count: number,
): Promise<readonly ServerVolume[]> {
  if (count === 0) return [];
  return (await mappingsOfServer(trx, serverId)).map(({ volumeId, device, bootIndex, deleteOnTermination }) => ({
    ...{ volumeId, device, bootIndex, deleteOnTermination },
  }));
}

const isRoot = <S extends HasVolumes>(c: C<S>, volumeId: string): boolean =>
  volumesOf(c).some((each) => each.volumeId === volumeId && each.bootIndex === 0);

/**
 * Inactive attachments on the host; all storage hosts concerned must be up, or the move had better not begin. A server goes
 * without what was lost, unless it boots from that.
 */
export async function reserveVolumes<S extends HasVolumes>(c: C<S>, host: string): Promise<StepOutcome<S>> {
  if (!hasVolumes(c)) return NONE;
  const own = Map.groupBy(await ownAttachments(c), (each) => each.storageHost);
  for (const [name, attachments] of own) {
    if (await storageHostIsUp(c.p, name)) continue;
    if (!(await isForgotten(c.p.stores.global, name)))
      return { kind: 'failed', reason: `storage host ${name} is down`, final: false };
    if (attachments.some(({ volumeId }) => isRoot(c, volumeId)))
      return { kind: 'failed', reason: `its root volume was lost with storage host ${name}`, final: true };
  }
  return inGlobal(c, (trx) => reserveAttachments(trx, c.serverId, host, c.generation, c.p.clock.now()));
}

/** No attachments are left on the host, where the server is not any more. */
export async function dropVolumes<S extends HasVolumes>(c: C<S>, host: string): Promise<StepOutcome<S>> {
  if (!hasVolumes(c)) return NONE;
  return inGlobal(c, (trx) => dropAttachments(trx, c.serverId, host));
}

/**
 * The guest on `to` has the server's volumes and no others, and nobody on `from` can reach them: first their access is
 * revoked, then the other's granted. Both guests are off. NOWHERE there is no guest: nobody can reach them. The same
 * the other way round undoes it.
 */
export async function handOverVolumes<S extends HasVolumes>(
  c: C<S>,
  from: string,
  to: string,
): Promise<StepOutcome<S>> {
  const volumes = volumesOf(c);
  if (volumes.length === 0) return NONE;
  const attachments = await ownAttachments(c);
  for (const attachment of attachments.filter((each) => each.host === from)) {
    const revoked = await revoke(c, attachment);
    if (revoked.kind !== 'done') return revoked;
  }
  await inGlobal(c, (trx) => activateAttachments(trx, c.serverId, to, c.generation));
  if (to === NOWHERE) return { kind: 'done' };
  for (const volume of volumes) {
    const attachment = attachmentAt(attachments, volume.volumeId, to);
    const plugged = await unlessLost(c, volume, attachment, await plugIn(c, volume, attachment));
    if (plugged.kind !== 'done') return plugged;
  }
  return { kind: 'done' };
}

/**
 * Of giving the guest on the attachment's host, which is off, a volume: it is without one that was lost with its storage
 * host. On the way back also without the one that it boots from: there is nowhere else to go.
 */
export async function unlessLost<S>(
  c: StepContext<S>,
  { volumeId, bootIndex }: Pick<ServerVolume, 'volumeId' | 'bootIndex'>,
  { host: hostName, storageHost }: Attachment,
  outcome: StepOutcome<S>,
): Promise<StepOutcome<S>> {
  if (outcome.kind !== 'failed' || !(await isForgotten(c.p.stores.global, storageHost))) return outcome;
  if (bootIndex === 0 && c.saga.direction === 'do') return outcome;
  const host = await c.host(hostName);
  const without = jobOutcome<S, Job>(await host.detachVolume(c.serverId, { generation: c.generation, volumeId }));
  const note = `volume ${volumeId} was lost with storage host ${storageHost}`;
  return without.kind === 'done' ? { ...without, note } : without;
}

/** The same to undo a hand-over that may or may not have happened; not when the server is to be deleted all the same. */
export const handBackVolumes = async <S extends HasVolumes>(
  c: C<S>,
  from: string,
  to: string,
): Promise<StepOutcome<S>> => unlessDoomedVolumes(c, to, await handOverVolumes(c, from, to));

/**
 * As handBackVolumes, also to a host that does not answer any more: nobody has access then, and the volumes are the guest's
 * by new attachments. That it gets them is owed: before it is turned on again it is compared with the records.
 */
export async function handBackOrOwe<S extends HasVolumes>(
  c: C<S>,
  from: string,
  to: string,
  reason: string,
): Promise<StepOutcome<S>> {
  return orOweVolumes(c, to, await handBackVolumes(c, from, to), reason);
}

/** Of an effect that gives the guest its volumes back: see handBackOrOwe. */
export async function orOweVolumes<S extends HasVolumes>(
  c: C<S>,
  to: string,
  outcome: StepOutcome<S>,
  reason: string,
): Promise<StepOutcome<S>> {
  if (outcome.kind !== 'failed' || outcome.final || (await hostAnswers(c.p, to))) return outcome;
  // At a generation of its own: access that this one gave, and that is still on its way, comes too late then. It would be
  // by an attachment that is on no record any more, and nobody could ever end it. Looked at behind it: see guest-devices.ts.
  const newest = await nextFence(c.p.stores.global);
  await inGlobal(c, async () => undefined);
  for (const attachment of await ownAttachments(c)) {
    const revoked = await revoke(c, attachment, newest);
    if (revoked.kind !== 'done') return unlessDoomedVolumes(c, to, revoked);
  }
  const { serverId, generation } = c;
  const volumeIds = volumesOf(c).map((volume) => volume.volumeId);
  await inGlobal(c, async (trx) => {
    await activateAttachments(trx, serverId, to, generation);
    await renewAttachments(trx, serverId, to, volumeIds);
  });
  // All of it and not the devices alone: the undos that come behind this one, which turn it on, are part of the debt then.
  await owe(c.p, { kind: 'match-guest', host: to, serverId, generation, sagaId: c.saga.id, reason });
  return { kind: 'done', note: `owed: host ${to} is down` };
}

/** The guest on the host, which is off, forgets what the server does not have any more. */
export async function forgetOldVolumes<S extends HasVolumes>(c: C<S>, hostName: string): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  const guest = await host.guest(c.serverId);
  if (guest.kind !== 'ok') return settled(guest);
  const kept = new Set(volumesOf(c).map((volume) => volume.volumeId));
  for (const { volumeId } of guest.value.volumes) {
    if (kept.has(volumeId)) continue;
    const forgotten = jobOutcome<S, Job>(await host.detachVolume(c.serverId, { generation: c.generation, volumeId }));
    if (forgotten.kind !== 'done') return forgotten;
  }
  return { kind: 'done' };
}

/** The guest on the attachment's host has the volume: access is granted, and the guest told of it. */
export async function plugIn<S>(
  c: StepContext<S>,
  volume: Omit<ServerVolume, 'deleteOnTermination'>,
  attachment: Attachment,
): Promise<StepOutcome<S>> {
  const { volumeId, device, bootIndex } = volume;
  const { generation, serverId } = c;
  const storage = await c.storage(attachment.storageHost);
  const granted = await storage.grant(volumeId, attachment.id, { serverId, generation, mode: attachment.mode });
  if (granted.kind !== 'ok') return storageOutcome(attachment.storageHost, granted);
  const host = await c.host(attachment.host);
  const connection = granted.value;
  const reply = await host.attachVolume(serverId, {
    generation,
    volume: { volumeId, attachmentId: attachment.id, device, bootIndex, connection },
  });
  const outcome = jobOutcome<S, Job>(reply);
  return c.saga.direction === 'undo' ? unlessGone(outcome) : outcome;
}

/** Nobody reaches the volume by this attachment. */
export async function revoke<S>(
  c: StepContext<S>,
  attachment: Attachment,
  generation = c.generation,
): Promise<StepOutcome<S>> {
  const { volumeId, id, storageHost } = attachment;
  const storage = await c.storage(storageHost);
  const reply = await storage.revoke(volumeId, id, { serverId: c.serverId, generation });
  return reply.kind === 'absent' ? { kind: 'done' } : storageOutcome(storageHost, reply);
}

/** The same for good: what a storage host that is down cannot do now is owed. */
export async function revokeOrOwe<S>(
  c: StepContext<S>,
  attachments: readonly Attachment[],
  reason: string,
): Promise<StepOutcome<S>> {
  const { serverId, generation } = c;
  const owed = new Set<string>();
  for (const attachment of attachments) {
    const { volumeId, storageHost: host } = attachment;
    const revoked = await revoke(c, attachment);
    if (revoked.kind === 'done') continue;
    if (revoked.kind !== 'failed' || revoked.final || (await storageHostIsUp(c.p, host))) return revoked;
    await owe(c.p, { kind: 'revoke-volume', host, serverId, volumeId, generation, sagaId: c.saga.id, reason });
    owed.add(host);
  }
  if (owed.size === 0) return { kind: 'done' };
  return { kind: 'done', note: `owed: storage host ${[...owed].join(', ')} is down` };
}

/** The server has access to none of its volumes by any attachment, or that is owed. */
export async function revokeAll<S extends HasVolumes>(c: C<S>, reason: string): Promise<StepOutcome<S>> {
  return hasVolumes(c) ? revokeOrOwe(c, await ownAttachments(c), reason) : NONE;
}

/** As `unlessDoomed` in hosts.ts, of an effect that storage hosts take part in. */
export async function unlessDoomedVolumes<S extends HasVolumes>(
  c: C<S>,
  hostName: string,
  outcome: StepOutcome<S>,
): Promise<StepOutcome<S>> {
  if (outcome.kind !== 'failed') return outcome;
  for (const name of new Set((await ownAttachments(c)).map((each) => each.storageHost))) {
    if (!(await storageHostIsUp(c.p, name))) return doomedOr(c, `storage host ${name} is down`, outcome);
  }
  return unlessDoomed(c, hostName, outcome);
}

/** Attachments of the volumes that the server has; not those whose end is owed. */
async function ownAttachments<S extends HasVolumes>(c: C<S>): Promise<Attachment[]> {
  const own = new Set(volumesOf(c).map((volume) => volume.volumeId));
  return (await attachmentsOfServer(c.p.stores.global, c.serverId)).filter((each) => own.has(each.volumeId));
}

function attachmentAt(attachments: readonly Attachment[], volumeId: string, host: string): Attachment {
  const found = attachments.find((each) => each.volumeId === volumeId && each.host === host);
  invariant(found, `volume ${volumeId} has no attachment on ${host}`);
  return found;
}

function storageOutcome<S>(name: string, reply: Reply<unknown>): StepOutcome<S> {
  if (reply.kind === 'absent')
    return { kind: 'failed', reason: `storage host ${name} has no such volume`, final: true };
  return settled(reply);
}
