import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Transaction } from 'kysely';
import { newId } from '../../lib/ids.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { owe } from '../debts.ts';
import type { Platform } from '../platform.ts';
import { withPlatform } from '../test-support.ts';
import { activateAttachments, dropAttachments, reserveAttachments } from './attachment-hosts.ts';
import {
  attachmentsOfServer,
  attachmentsOfVolume,
  beginDetach,
  claimVolume,
  forgetAttachments,
  releaseVolumes,
  settleVolumes,
} from './attachments.ts';

const NOW = 1_800_000_000_000;

async function addVolume(p: Platform, multiattach = false): Promise<string> {
  const db = p.stores.global;
  const common = { created_at: NOW, updated_at: NOW };
  await db
    .insertInto('storage_hosts')
    .values({
      ...{ id: 'st', name: 'storage1', url: 'http://st', disabled: 0, last_seen_at: null, agent_id: null },
      ...{ driver: 'simulated', total_gb: 100, free_gb: 100, ...common },
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await db
    .insertInto('volume_types')
    .values({ id: 'ty', name: 'ty', description: null, is_public: 1, extra_specs_json: '{}', created_at: NOW })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const id = newId();
  await db
    .insertInto('volumes')
    .values({
      ...{ id, name: null, description: null, project_id: 'p1', user_id: 'u1', size_gb: 1, status: 'available' },
      ...{ storage_host: 'storage1', type_id: 'ty', zone: 'nova', multiattach: multiattach ? 1 : 0, bootable: 0 },
      ...{ snapshot_id: null, source_volume_id: null, image_json: null, metadata_json: '{}', generation: 1, ...common },
    })
    .execute();
  return id;
}

const within = <T>(p: Platform, work: (trx: Transaction<GlobalTables>) => Promise<T>): Promise<T> =>
  p.stores.global.transaction().execute(work);

const claim = (p: Platform, volumeId: string, serverId = 's1', sourceHost: string | null = null) =>
  within(p, (trx) =>
    claimVolume(trx, {
      ...{ volumeId, serverId, projectId: 'p1', host: 'h1', sourceHost, mode: 'rw', now: NOW },
    }),
  );

async function attach(p: Platform, volumeId: string, serverId = 's1', sourceHost: string | null = null): Promise<void> {
  assert.equal(await claim(p, volumeId, serverId, sourceHost), null);
  await within(p, (trx) => settleVolumes(trx, serverId, [volumeId], 5, NOW));
}

async function statusOf(p: Platform, volumeId: string): Promise<string> {
  const row = await p.stores.global
    .selectFrom('volumes')
    .select('status')
    .where('id', '=', volumeId)
    .executeTakeFirstOrThrow();
  return row.status;
}

/** Hosts of the server's attachments, the active ones with a star. */
const hostsOf = async (p: Platform, serverId = 's1'): Promise<string[]> =>
  (await attachmentsOfServer(p.stores.global, serverId))
    .map((each) => `${each.host}${each.active ? '*' : ''}`)
    .toSorted();

test('a claim reserves, settling puts in use, release frees', () =>
  withPlatform(async (p) => {
    const volume = await addVolume(p);
    assert.equal(await claim(p, volume), null);
    assert.equal(await statusOf(p, volume), 'reserved');
    await within(p, (trx) => settleVolumes(trx, 's1', [volume], 5, NOW));
    assert.equal(await statusOf(p, volume), 'in-use');
    const [attachment] = await attachmentsOfVolume(p.stores.global, volume);
    assert.partialDeepStrictEqual(attachment, {
      ...{ volumeId: volume, storageHost: 'storage1', serverId: 's1', host: 'h1', active: true, mode: 'rw' },
      ...{ attachedAt: NOW, volumeStatus: 'in-use', sizeGb: 1, multiattach: false },
    });
    await within(p, (trx) => releaseVolumes(trx, 's1', [volume], NOW));
    assert.equal(await statusOf(p, volume), 'available');
    assert.deepEqual(await hostsOf(p), []);
  }));

test('one of two servers gets a volume; a shared one goes to both, once each', () =>
  withPlatform(async (p) => {
    const [own, shared] = [await addVolume(p), await addVolume(p, true)];
    const both = await Promise.all([claim(p, own, 's1'), claim(p, own, 's2')]);
    assert.deepEqual(both.map((each) => each?.code ?? null).toSorted(), [400, null]);
    assert.equal(await claim(p, shared, 's1'), null);
    assert.equal(await claim(p, shared, 's2'), null);
    assert.match((await claim(p, shared, 's2'))?.message ?? '', /already attached$/);
    await within(p, (trx) => settleVolumes(trx, 's1', [shared], 5, NOW));
    await within(p, (trx) => releaseVolumes(trx, 's1', [shared], NOW));
    assert.equal(await statusOf(p, shared), 'reserved', 's2 has not got it yet');
  }));

test('a move: one attachment, then two of which one is active, then one again', () =>
  withPlatform(async (p) => {
    const volumes = [await addVolume(p), await addVolume(p)];
    for (const volume of volumes) await attach(p, volume);
    for (let times = 0; times < 2; times += 1) {
      await within(p, (trx) => reserveAttachments(trx, 's1', 'h2', 6, NOW));
      assert.deepEqual(await hostsOf(p), ['h1*', 'h1*', 'h2', 'h2']);
    }
    for (const [host, expected] of [
      ['h2', ['h1', 'h1', 'h2*', 'h2*']],
      ['h2', ['h1', 'h1', 'h2*', 'h2*']],
      ['h1', ['h1*', 'h1*', 'h2', 'h2']],
    ] as const) {
      await within(p, (trx) => activateAttachments(trx, 's1', host, 6));
      assert.deepEqual(await hostsOf(p), expected);
    }
    await within(p, (trx) => dropAttachments(trx, 's1', 'h2'));
    await within(p, (trx) => dropAttachments(trx, 's1', 'h1'));
    assert.deepEqual(await hostsOf(p), ['h1*', 'h1*'], 'what is active stays');
    assert.deepEqual(await Promise.all(volumes.map((volume) => statusOf(p, volume))), ['in-use', 'in-use']);
  }));

test('claimed while a resize waits, a volume has an attachment on the source too; both go with a detach', () =>
  withPlatform(async (p) => {
    const volume = await addVolume(p);
    await attach(p, volume, 's1', 'h0');
    assert.deepEqual(await hostsOf(p), ['h0', 'h1*']);
    const ids = { volumeId: volume, serverId: 's1', now: NOW };
    assert.equal(await within(p, (trx) => beginDetach(trx, ids, { bootIndex: null })), null);
    assert.equal(await statusOf(p, volume), 'detaching');
    assert.equal((await within(p, (trx) => beginDetach(trx, ids, { bootIndex: null })))?.code, 400);
    await within(p, (trx) => settleVolumes(trx, 's1', [volume], 5, NOW));
    assert.equal(await statusOf(p, volume), 'in-use', 'the detach was undone');
    await within(p, (trx) => releaseVolumes(trx, 's1', [volume], NOW));
    assert.deepEqual(await hostsOf(p), []);
  }));

test('what a server does not have cannot be taken from it', () =>
  withPlatform(async (p) => {
    const volume = await addVolume(p);
    await attach(p, volume, 's2');
    const ids = { volumeId: volume, serverId: 's1', now: NOW };
    assert.equal((await within(p, (trx) => beginDetach(trx, ids, { bootIndex: null })))?.code, 404);
    assert.equal(await statusOf(p, volume), 'in-use');
  }));

test('while the end of its access is owed nobody else can have a volume', () =>
  withPlatform(async (p) => {
    const volume = await addVolume(p);
    await attach(p, volume);
    await owe(p, {
      ...{ kind: 'revoke-volume', host: 'storage1', serverId: 's1', volumeId: volume, generation: 5 },
      ...{ sagaId: 'g', reason: 'volume of a deleted server' },
    });
    await within(p, (trx) => releaseVolumes(trx, 's1', [volume], NOW));
    assert.equal(await statusOf(p, volume), 'detaching');
    assert.deepEqual(await hostsOf(p), ['h1']);
    await within(p, (trx) => dropAttachments(trx, 's1', 'h1'));
    await within(p, (trx) => reserveAttachments(trx, 's1', 'h2', 6, NOW));
    assert.deepEqual(await hostsOf(p), ['h1'], 'no move of the server takes it along or away');
    assert.equal((await claim(p, volume, 's2'))?.code, 400);
    await within(p, (trx) => forgetAttachments(trx, 's1', [volume], NOW));
    assert.equal(await statusOf(p, volume), 'available');
  }));
