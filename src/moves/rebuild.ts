// Rebuild: a server gets a new root disk on its host, from an image, and other words about it if they are given.
//
// ACTIVE | SHUTOFF | ERROR → REBUILD → ACTIVE | SHUTOFF. The new disk is made beside the old one while the guest goes
// on; then the guest is turned off and started from the new one. Until it runs from that, everything can be taken back:
// the old disk is untouched, and the server is as it was. Only then is the old disk deleted. A server that was off
// stays off.
// The record says what is to be from the beginning on, as Nova's does, so the answer shows it; turned back, each field gets
// its old value unless somebody has changed it meanwhile. The old image is kept as long as the saga may need it
// (images/collect.ts). A server that boots from a volume keeps it as it is: it gets the new words, and a config drive.
import type { Selectable, Transaction } from 'kysely';
import { shownImageOf } from '../model/disk-image.ts';
import { type Flavor, type ImageSnapshot, POWER_STATE, type Server, type VmState } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { type ActionState, letGo, takeHold } from './claim.ts';
import { ownsSaga } from './fencing.ts';
import type { Move, StepContext, StepOutcome } from './move.ts';
import { done, doneBecause } from './outcomes.ts';
import { powerOff, powerOffAgain, powerOn, powerOnAgain } from './power-effects.ts';
import { dropSpare, makeSpare, unmakeSpare, useSpare, useSpareAgain } from './spare-effects.ts';
import { driveOf, guestSpec } from './spec.ts';

/** What a rebuild may change of a record. */
export const CHANGED = [
  ...(['name', 'hostname', 'description', 'image_json', 'key_name', 'user_data', 'config_drive_json'] as const),
  ...(['metadata_json', 'disk_config', 'access_ip_v4', 'access_ip_v6'] as const),
] as const;
export type Words = Pick<Selectable<CellTables['servers']>, (typeof CHANGED)[number]>;

export interface RebuildState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly vmState: VmState;
  readonly graceSeconds: number;
  /** Whether the guest was to run before, and is to run afterwards. */
  readonly wasOn: boolean;
  readonly willRun: boolean;
  readonly flavor: Flavor;
  /** The image of the new disk; null: it boots from a volume. */
  readonly diskImageId: string | null;
  readonly before: Words;
  readonly after: Words;
}

type C = StepContext<RebuildState>;

const FORWARD = 'forward only: the guest runs from its new disk';

export const REBUILD: Move<RebuildState> = {
  name: 'rebuild',
  version: 1,
  pivot: 'note image',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) =>
        takeHold(c, c.s.cellId, 'rebuild', 'rebuilding', { from: [c.s.vmState], host: c.s.host }, (trx) =>
          write(c, trx, wished(c.s)),
        ),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error', (trx) => takeBack(c, trx)),
    },
    {
      // While the guest goes on: the image may have to come to the host first.
      step: 'make disk',
      do: makeDisk,
      undo: (c) => unmakeSpare(c, c.s.host),
    },
    {
      step: 'turn off',
      do: (c) => powerOff(c, c.s.host, c.s.graceSeconds),
      undo: async (c) => (c.s.wasOn ? powerOnAgain(c, c.s.host) : doneBecause('was off')),
    },
    {
      step: 'switch disk',
      do: (c) => useSpare(c, c.s.host, true),
      undo: (c) => useSpareAgain(c, c.s.host, false),
    },
    {
      step: 'start guest',
      do: async (c) => (c.s.willRun ? powerOn(c, c.s.host) : doneBecause('it stays off')),
      undo: async (c) => (c.s.willRun ? powerOffAgain(c, c.s.host) : doneBecause('it stayed off')),
    },
    {
      step: 'note image',
      do: (c) => noteImage(c, c.s.after),
      undo: (c) => noteImage(c, c.s.before),
    },
    {
      step: 'drop old disk',
      do: (c) => dropSpare(c, c.s.host),
      undo: FORWARD,
    },
    {
      step: 'let go',
      do: (c) =>
        letGo(
          c,
          c.s.cellId,
          {
            ...(c.s.willRun
              ? { vm_state: 'active', power_state: POWER_STATE.RUNNING }
              : { vm_state: 'stopped', power_state: POWER_STATE.SHUTDOWN }),
            ...{ launched_at: c.p.clock.now(), fault_json: null },
          },
          null,
        ),
      undo: FORWARD,
    },
  ],
};

async function write(c: C, trx: Transaction<CellTables>, words: Partial<Words>): Promise<StepOutcome<RebuildState>> {
  if (Object.keys(words).length === 0) return done;
  await trx.updateTable('servers').set(words).where('id', '=', c.serverId).where('saga_id', '=', c.saga.id).execute();
  return done;
}

/** What the rebuild changes: what somebody else has changed since it was asked for stays. */
const wished = ({ before, after }: RebuildState): Partial<Words> =>
  Object.fromEntries(CHANGED.filter((key) => before[key] !== after[key]).map((key) => [key, after[key]]));

async function takeBack(c: C, trx: Transaction<CellTables>): Promise<void> {
  const { before, after } = c.s;
  const now = await trx.selectFrom('servers').select(CHANGED).where('id', '=', c.serverId).executeTakeFirst();
  if (!now) return;
  await write(
    c,
    trx,
    Object.fromEntries(
      CHANGED.filter((key) => before[key] !== after[key] && now[key] === after[key]).map((key) => [key, before[key]]),
    ),
  );
}

async function makeDisk(c: C): Promise<StepOutcome<RebuildState>> {
  const { after, flavor, diskImageId, host } = c.s;
  const configDrive =
    after.config_drive_json === null ? null : (JSON.parse(after.config_drive_json) as Server['configDrive']);
  const drive = driveOf({ configDrive, userData: after.user_data });
  return makeSpare(c, host, 'rebuild', await guestSpec(c.p, c.serverId, diskImageId, flavor, drive));
}

/** What is known of the server where its cell is not asked. */
async function noteImage(c: C, { image_json }: Words): Promise<StepOutcome<RebuildState>> {
  const { global } = c.p.stores;
  const image = JSON.parse(image_json) as ImageSnapshot;
  await global
    .updateTable('server_mappings')
    .set({ image_id: shownImageOf(image) })
    .where('server_id', '=', c.serverId)
    .where(ownsSaga(global, c))
    .execute();
  return done;
}
