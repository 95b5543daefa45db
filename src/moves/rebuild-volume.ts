// Rebuild of a server that boots from a volume, whose root volume is written anew from an image (2.93).
//
// As rebuild.ts, with the same words and the same spare disk, which carries the config drive. Besides: the guest is off
// when the storage host keeps what the volume holds, in a snapshot that is named after the saga and on no record; access is
// taken away while it is written, so that no guest can see half of it, and given back under a new key. Until the server
// runs from it everything can be taken back; only then the old content goes. The volume is `downloading` until it has gone:
// nobody begins anything else on it. Its other snapshots stay as they are.
// That the old content goes is owed by a storage host that is down. Turned back because its server is to be deleted, a
// volume that outlives the server is not waited for either: that it holds again what was kept is owed, and it stays
// `downloading` until it does.
// Not handled: volumes in a Cinder, and those that other servers have too, which are refused.
import type { Transaction } from 'kysely';
import { owe } from '../control/debts.ts';
import { findBaseImage, findImage, type Image } from '../control/images.ts';
import type { KEPT_CONTENT } from '../control/owing.ts';
import type { Platform } from '../control/platform.ts';
import { attachmentsOfServer, attachmentsOfVolume, settleStatus } from '../control/volumes/attachments.ts';
import { rememberedImage } from '../control/volumes/plan.ts';
import { changeStatus, lockVolume } from '../control/volumes/records.ts';
import { isBusy } from '../control/volumes/snapshots.ts';
import { storageHostIsUp } from '../control/volumes/storage-hosts.ts';
import type { Job, Reply } from '../host/contract.ts';
import { shownImageOf } from '../model/disk-image.ts';
import { conflict } from '../model/refusal.ts';
import type { Actor, ImageSnapshot, Refusal } from '../model/types.ts';
import { checkAttached, type Volume, volumeNotFound } from '../model/volumes.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Move, MoveStep, StepContext, StepOutcome } from './move.ts';
import { done, doneBecause, inGlobal } from './outcomes.ts';
import { REBUILD, type RebuildState, type Words } from './rebuild.ts';
import {
  type HasVolumes,
  orOweVolumes,
  plugIn,
  revoke,
  type ServerVolume,
  unlessDoomedVolumes,
  unlessLost,
} from './server-volumes.ts';
import { startMove } from './start.ts';
import { VOLUME_BUSY } from './turns.ts';
import { storageJobOutcome } from './volumes/effects.ts';

export interface RebuildVolumeState extends RebuildState, HasVolumes {
  readonly volumeId: string;
  readonly storageHost: string;
  /** What is remembered of the volume's content until it is written anew. */
  readonly volumeBefore: Pick<Volume, 'image' | 'bootable'>;
  readonly imageId: string;
  /** The root volume alone. */
  readonly volumes: readonly ServerVolume[];
  /** Whether it is owed that the volume holds again what was kept. */
  readonly restoreOwed?: boolean;
}

type C = StepContext<RebuildVolumeState>;
type Outcome = StepOutcome<RebuildVolumeState>;

const FORWARD = 'forward only: the guest runs from what has been written';
const NOT_REBUILT = 'root volume of a server that was not rebuilt';

/** A step of a rebuild is one of this. */
function asIn(name: string): MoveStep<RebuildVolumeState> {
  const found = REBUILD.steps.find((each) => each.step === name);
  if (!found) throw new Error(`a rebuild has no step ${name}`);
  return found as unknown as MoveStep<RebuildVolumeState>;
}

export const REBUILD_VOLUME: Move<RebuildVolumeState> = {
  name: 'rebuild root volume',
  version: 1,
  pivot: 'note image',
  made: 1,
  parties: (s) => [s.host],
  steps: [
    {
      // Done in the transaction that makes the saga.
      step: 'claim volume',
      do: async () => done,
      undo: async (c) =>
        c.s.restoreOwed ? doneBecause('it stays so until it is restored') : inGlobal(c, (trx) => atRest(c, trx)),
    },
    asIn('take hold'),
    asIn('make disk'),
    asIn('turn off'),
    asIn('switch disk'),
    {
      step: 'keep old content',
      do: (c) => atStorage(c, (storage, id) => storage.snapshot(id, c.saga.id, { generation: c.generation })),
      undo: async (c) => (c.s.restoreOwed ? doneBecause('it is what the volume is restored from') : dropOld(c)),
    },
    {
      step: 'take volume away',
      do: shutOut,
      undo: async (c) =>
        c.s.restoreOwed
          ? doneBecause('nobody is to see what it holds now')
          : orOweVolumes(c, c.s.host, await unlessDoomedVolumes(c, c.s.host, await letIn(c)), NOT_REBUILT),
    },
    {
      step: 'write volume',
      do: writeAnew,
      undo: restore,
    },
    {
      step: 'give volume back',
      do: letIn,
      undo: async (c) => unlessDoomedVolumes(c, c.s.host, await shutOut(c)),
    },
    asIn('start guest'),
    {
      step: 'note image',
      do: noteImage,
      undo: (c) =>
        inGlobal(c, async (trx) => {
          await noteShown(c, trx, c.s.before);
          const { image, bootable } = c.s.volumeBefore;
          await changeStatus(trx, c.s.volumeId, ['downloading'], {
            ...{ image_json: image === null ? null : JSON.stringify(image), bootable: bootable ? 1 : 0 },
          });
        }),
    },
    asIn('drop old disk'),
    {
      step: 'drop old content',
      do: dropOld,
      undo: FORWARD,
    },
    {
      // Not before: whatever anybody else began on the volume would be in the way of that.
      step: 'free volume',
      do: (c) => inGlobal(c, (trx) => atRest(c, trx)),
      undo: FORWARD,
    },
    asIn('let go'),
  ],
};

async function atStorage(
  c: C,
  call: (storage: Awaited<ReturnType<C['storage']>>, volumeId: string) => Promise<Reply<Job>>,
): Promise<Outcome> {
  const { volumeId, storageHost } = c.s;
  return storageJobOutcome(storageHost, await call(await c.storage(storageHost), volumeId));
}

/** What was kept is gone, or that is owed. */
async function dropOld(c: C): Promise<Outcome> {
  const outcome = await unlessVolumeDoomed(
    c,
    await atStorage(c, (storage, id) => storage.deleteSnapshot(id, c.saga.id, { generation: c.generation })),
  );
  return (await isForDown(c, outcome)) ? owed(c, 'drop-kept-content', 'what a rebuild kept of a volume') : outcome;
}

/** Whether it failed because the storage host is down. */
const isForDown = async (c: C, outcome: Outcome): Promise<boolean> =>
  outcome.kind === 'failed' && !outcome.final && !(await storageHostIsUp(c.p, c.s.storageHost));

async function owed(c: C, kind: (typeof KEPT_CONTENT)[number], reason: string) {
  const { volumeId, storageHost: host } = c.s;
  const debt = { host, serverId: c.serverId, volumeId, generation: c.generation, sagaId: c.saga.id, reason };
  await owe(c.p, { kind, ...debt });
  return doneBecause(`owed: storage host ${host} is down`);
}

async function writeAnew(c: C): Promise<Outcome> {
  const image = await findBaseImage(c.p, c.s.imageId);
  if (image === null) return { kind: 'failed', reason: 'the image is gone', final: true };
  const content = { kind: 'image', image } as const;
  return atStorage(c, (storage, id) => storage.rewrite(id, { generation: c.generation, content }));
}

/** The volume holds what was kept; or that is owed, when the server is to be deleted and the storage host is down. */
async function restore(c: C): Promise<Outcome> {
  const written = await unlessVolumeDoomed(c, await writeBack(c));
  if (!(await isForDown(c, written))) return written;
  const doomed = await unlessDoomedVolumes(c, c.s.host, written);
  if (doomed.kind !== 'done') return doomed;
  const debt = await owed(c, 'restore-volume', 'root volume of a rebuild that was given up');
  return { ...debt, output: { restoreOwed: true } };
}

async function writeBack(c: C): Promise<Outcome> {
  // To undo the step behind this, a server that is to be deleted has not waited for a storage host that was down.
  const out = await shutOut(c);
  if (out.kind !== 'done') return out;
  const content = { kind: 'snapshot', snapshotId: c.saga.id } as const;
  return atStorage(c, (storage, id) => storage.rewrite(id, { generation: c.generation, content }));
}

/**
 * As `unlessDoomedVolumes`, of what the volume holds: that only makes no difference when the volume goes with the server,
 * and does not outlive it, by its mapping or for its snapshots.
 */
async function unlessVolumeDoomed(c: C, outcome: Outcome): Promise<Outcome> {
  if (outcome.kind !== 'failed' || c.s.volumes.some((each) => !each.deleteOnTermination)) return outcome;
  const { global } = c.p.stores;
  const snapshots = global.selectFrom('volume_snapshots').select('id').where('volume_id', '=', c.s.volumeId);
  if (await snapshots.limit(1).executeTakeFirst()) return outcome;
  return unlessDoomedVolumes(c, c.s.host, outcome);
}

async function rootAttachment(c: C) {
  const attachments = await attachmentsOfServer(c.p.stores.global, c.serverId);
  return attachments.find((each) => each.volumeId === c.s.volumeId && each.host === c.s.host) ?? null;
}

async function shutOut(c: C): Promise<Outcome> {
  const attachment = await rootAttachment(c);
  return attachment === null ? done : revoke(c, attachment);
}

async function letIn(c: C): Promise<Outcome> {
  const [volume] = c.s.volumes;
  const attachment = await rootAttachment(c);
  if (!volume || attachment === null) return { kind: 'failed', reason: 'the root volume is gone', final: true };
  return unlessLost(c, volume, attachment, await plugIn(c, volume, attachment));
}

/** The volume is the server's again as any other, and may be asked for. */
async function atRest(c: C, trx: Transaction<GlobalTables>): Promise<void> {
  const now = c.p.clock.now();
  await changeStatus(trx, c.s.volumeId, ['downloading'], {
    ...{ status: 'in-use', generation: c.generation, updated_at: now },
  });
  await settleStatus(trx, [c.s.volumeId], now);
}

async function noteImage(c: C): Promise<Outcome> {
  const image = await findImage(c.p, c.s.imageId);
  const remembered = image === null ? {} : { image_json: JSON.stringify(rememberedImage(image)) };
  return inGlobal(c, async (trx) => {
    await noteShown(c, trx, c.s.after);
    await changeStatus(trx, c.s.volumeId, ['downloading'], { ...remembered, bootable: 1 });
  });
}

const noteShown = (c: C, trx: Transaction<GlobalTables>, { image_json }: Words) =>
  trx
    .updateTable('server_mappings')
    .set({ image_id: shownImageOf(JSON.parse(image_json) as ImageSnapshot) })
    .where('server_id', '=', c.serverId)
    .execute();

/** Begins it. @param state of the rebuild, whose rules have been checked */
export function rebuildVolume(
  p: Platform,
  actor: Actor,
  serverId: string,
  state: RebuildState,
  image: Image,
  root: { readonly volume: Volume; readonly mapped: ServerVolume },
): Promise<Refusal | null> {
  const { id: volumeId, storageHost, image: oldImage, bootable } = root.volume;
  const volumeBefore = { image: oldImage, bootable };
  const full = { ...state, volumeId, storageHost, volumeBefore, imageId: image.id, volumes: [root.mapped] };
  return startMove(
    p,
    {
      ...{ move: REBUILD_VOLUME, serverId, actor, state: full },
      claim: (trx) => claim(trx, serverId, volumeId, p.clock.now()),
    },
    'rebuild',
  );
}

async function claim(
  trx: Transaction<GlobalTables>,
  serverId: string,
  volumeId: string,
  now: number,
): Promise<Refusal | null> {
  const volume = await lockVolume(trx, volumeId);
  if (!volume) return volumeNotFound(volumeId);
  const refusal = checkAttached(volume);
  if (refusal) return refusal;
  if ((await attachmentsOfVolume(trx, volumeId)).some((each) => each.serverId !== serverId)) {
    return conflict('Cannot re-image a volume which is attached to more than one server.');
  }
  if (await isBusy(trx, volumeId)) return VOLUME_BUSY;
  await changeStatus(trx, volumeId, ['in-use'], { status: 'downloading', updated_at: now });
  return null;
}
