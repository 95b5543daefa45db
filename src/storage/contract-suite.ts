// What every storage host keeps, whatever drives it and however it is reached: one suite for all of them.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import type { VolumeConnection } from '../host/contract.ts';
import { finish, GIB, value } from '../host/test-support.ts';
import type { StorageHost, VolumeSource } from './contract.ts';
import {
  ATTACHMENT,
  OTHER_ATTACHMENT,
  OTHER_SERVER_ID,
  OTHER_VOLUME,
  overNbd,
  SERVER_CALLS,
  SERVER_ID,
  SNAPSHOT_ID,
  VOLUME_CALLS,
  VOLUME_ID,
} from './test-support.ts';

export interface ReachableStorage {
  host(): StorageHost;
  /** Whether somebody with this connection gets in now. */
  reach(connection: VolumeConnection): Promise<boolean>;
  /** The agent's process is replaced by a new one. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** Takes images as the control plane does; `status`: its answer, null: none ever comes. */
async function openReceiver(status: number | null) {
  const heads: Buffer[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    if (status === null) return;
    for await (const chunk of request) if (chunks.length === 0) chunks.push(chunk as Buffer);
    heads.push(Buffer.concat(chunks));
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  return {
    url: `http://127.0.0.1:${address.port}/image`,
    heads,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function storageContract(way: string, open: () => Promise<ReachableStorage>): void {
  describe(`storage contract ${way}`, () => {
    let storage: ReachableStorage;
    let generation = 10;
    const host = () => storage.host();
    before(async () => {
      storage = await open();
    });
    after(() => storage.close());
    /** Every test begins with no volume, at a new generation. */
    async function begin(): Promise<void> {
      generation += 10;
      for (const id of [OTHER_VOLUME, VOLUME_ID]) {
        const known = await host().volume(id);
        if (known.kind === 'ok')
          for (const { attachmentId, serverId } of known.value.grants)
            value(await host().revoke(id, attachmentId, { serverId, generation }));
        await finish(() => host().delete(id, { generation }));
      }
      generation += 1;
    }
    const create = (id = VOLUME_ID, source: VolumeSource = { kind: 'blank' }, sizeBytes = GIB) =>
      finish(() => host().create(id, { generation, sizeBytes, source }));
    const grant = (attachmentId = ATTACHMENT, serverId = SERVER_ID, mode: 'rw' | 'ro' = 'rw') =>
      host().grant(VOLUME_ID, attachmentId, { serverId, generation, mode });
    const revoke = (attachmentId = ATTACHMENT, serverId = SERVER_ID) =>
      host().revoke(VOLUME_ID, attachmentId, { serverId, generation });
    const stored = async () => value(await host().volume(VOLUME_ID));

    test('describes itself', async () => {
      const { totalBytes, freeBytes } = value(await host().describe());
      assert.ok(totalBytes >= freeBytes && freeBytes > 0);
    });

    test('a volume is made, grown and deleted; each twice without harm', async () => {
      await begin();
      assert.equal((await host().volume(VOLUME_ID)).kind, 'absent');
      for (const _ of [1, 2]) await create();
      const made = { volumeId: VOLUME_ID, generation, sizeBytes: GIB, snapshots: [], busy: false, grants: [] };
      assert.deepEqual(await stored(), made);
      assert.deepEqual(value(await host().heartbeat()).volumes, [made]);
      for (const _ of [1, 2]) await finish(() => host().extend(VOLUME_ID, { generation, sizeBytes: 2 * GIB }));
      await finish(() => host().extend(VOLUME_ID, { generation, sizeBytes: GIB }));
      assert.equal((await stored()).sizeBytes, 2 * GIB, 'never shrinks');
      for (const _ of [1, 2]) await finish(() => host().delete(VOLUME_ID, { generation }));
      assert.equal((await host().volume(VOLUME_ID)).kind, 'absent');
      assert.deepEqual(value(await host().heartbeat()).volumes, []);
    });

    test('what has been deleted is not brought back by a call of the same generation', async () => {
      await begin();
      await create();
      await finish(() => host().snapshot(VOLUME_ID, SNAPSHOT_ID, { generation }));
      for (const _ of [1, 2]) await finish(() => host().deleteSnapshot(VOLUME_ID, SNAPSHOT_ID, { generation }));
      assert.equal((await host().snapshot(VOLUME_ID, SNAPSHOT_ID, { generation })).kind, 'refused');
      await finish(() => host().delete(VOLUME_ID, { generation }));
      const late = { generation, sizeBytes: GIB, source: { kind: 'blank' } } as const;
      assert.equal((await host().create(VOLUME_ID, late)).kind, 'refused');
      assert.equal((await host().snapshot(VOLUME_ID, SNAPSHOT_ID, { generation })).kind, 'absent');
      generation += 1;
      await create();
    });

    test('copies of volumes and snapshots; a source that is not here is refused', async () => {
      await begin();
      const copyOf = { kind: 'volume', volumeId: VOLUME_ID } as const;
      const snapshotOf = { kind: 'snapshot', volumeId: VOLUME_ID, snapshotId: SNAPSHOT_ID } as const;
      for (const source of [copyOf, snapshotOf])
        assert.equal((await host().create(OTHER_VOLUME, { generation, sizeBytes: GIB, source })).kind, 'refused');
      await create();
      for (const _ of [1, 2]) await finish(() => host().snapshot(VOLUME_ID, SNAPSHOT_ID, { generation }));
      assert.deepEqual((await stored()).snapshots, [SNAPSHOT_ID]);
      const small = { generation, sizeBytes: GIB / 2, source: copyOf };
      assert.equal((await host().create(OTHER_VOLUME, small)).kind, 'refused');
      for (const source of [copyOf, snapshotOf]) {
        await create(OTHER_VOLUME, source);
        await finish(() => host().delete(OTHER_VOLUME, { generation }));
        generation += 1;
      }
    });

    for (const size of [0, 1, 1000, 1024 ** 5]) {
      test(`a volume of ${size} bytes is refused`, async () => {
        await begin();
        const request = { generation, sizeBytes: size, source: { kind: 'blank' } } as const;
        assert.equal((await host().create(VOLUME_ID, request)).kind, 'refused');
        assert.equal((await host().volume(VOLUME_ID)).kind, 'absent');
      });
    }

    test('who has a grant gets in, who has lost it does not, and a new grant has a new key', async () => {
      await begin();
      assert.equal((await grant()).kind, 'absent');
      value(await revoke());
      await create();
      const first = overNbd(await grant());
      assert.deepEqual(overNbd(await grant()), first, 'the same connection');
      assert.equal(await storage.reach(first), true);
      assert.equal(await storage.reach({ ...first, key: '00'.repeat(32) }), false, 'a wrong key');
      assert.deepEqual((await stored()).grants, [
        { attachmentId: ATTACHMENT, serverId: SERVER_ID, generation, mode: 'rw' },
      ]);
      assert.ok(!JSON.stringify(await stored()).includes(first.key));
      assert.equal((await host().delete(VOLUME_ID, { generation })).kind, 'refused', 'somebody has access');
      for (const _ of [1, 2]) value(await revoke());
      assert.equal(await storage.reach(first), false);
      assert.deepEqual((await stored()).grants, []);
      const second = overNbd(await grant());
      assert.notEqual(second.key, first.key);
      assert.equal(await storage.reach(first), false, 'the old key stays shut out');
      value(await revoke());
      assert.equal(await storage.reach(second), true, 'a revoke that was delayed ends nothing');
    });

    test('one attachment of a server at a time; several servers', async () => {
      await begin();
      await create();
      const mine = overNbd(await grant());
      assert.equal((await grant(OTHER_ATTACHMENT)).kind, 'refused');
      assert.equal((await grant(ATTACHMENT, OTHER_SERVER_ID)).kind, 'refused', "another server's attachment");
      assert.equal((await revoke(ATTACHMENT, OTHER_SERVER_ID)).kind, 'refused', "another server's attachment");
      assert.equal((await grant(ATTACHMENT, SERVER_ID, 'ro')).kind, 'refused', 'another mode');
      const theirs = overNbd(await grant(OTHER_ATTACHMENT, OTHER_SERVER_ID, 'ro'));
      assert.deepEqual([await storage.reach(mine), await storage.reach(theirs)], [true, true]);
      value(await revoke());
      assert.deepEqual([await storage.reach(mine), await storage.reach(theirs)], [false, true]);
    });

    test('grown and kept in a snapshot while somebody uses it', async () => {
      await begin();
      await create();
      const connection = overNbd(await grant());
      await finish(() => host().extend(VOLUME_ID, { generation, sizeBytes: 2 * GIB }));
      await finish(() => host().snapshot(VOLUME_ID, SNAPSHOT_ID, { generation }));
      assert.equal(await storage.reach(connection), true);
      await finish(() => host().deleteSnapshot(VOLUME_ID, SNAPSHOT_ID, { generation }));
      assert.equal(overNbd(await grant()).sizeBytes, 2 * GIB);
      await create(OTHER_VOLUME, { kind: 'volume', volumeId: VOLUME_ID }, 2 * GIB);
    });

    test('a volume is written anew, and back again, while nobody has access', async () => {
      await begin();
      await create();
      const rewrite = (snapshotId: string) =>
        host().rewrite(VOLUME_ID, { generation, content: { kind: 'snapshot', snapshotId } });
      assert.equal((await rewrite(SNAPSHOT_ID)).kind, 'refused', 'no such snapshot');
      await finish(() => host().snapshot(VOLUME_ID, SNAPSHOT_ID, { generation }));
      const connection = value(await grant());
      assert.equal((await rewrite(SNAPSHOT_ID)).kind, 'refused', 'somebody has access');
      value(await revoke());
      for (const _ of [1, 2]) await finish(() => rewrite(SNAPSHOT_ID));
      assert.deepEqual((await stored()).snapshots, [SNAPSHOT_ID]);
      assert.equal(await storage.reach(connection), false);
      assert.equal(await storage.reach(value(await grant())), true);
    });

    for (const format of ['raw', 'qcow2'] as const) {
      test(`what a volume holds is sent as ${format}, also while somebody uses it`, async () => {
        await begin();
        await create();
        const connection = value(await grant());
        await using receiver = await openReceiver(200);
        const request = { generation, uploadId: SNAPSHOT_ID, format, url: receiver.url };
        await finish(() => host().upload(VOLUME_ID, request));
        const [sent] = receiver.heads;
        assert.equal(sent?.subarray(0, 4).toString('latin1') === 'QFI\xfb', format === 'qcow2');
        assert.deepEqual((await stored()).snapshots, []);
        assert.equal(await storage.reach(connection), true);
        await finish(() => host().endUpload(VOLUME_ID, { generation }));
      });
    }

    test('an image that is not taken is no image; what is being sent can be ended', async () => {
      await begin();
      assert.equal((await host().endUpload(VOLUME_ID, { generation })).kind, 'ok');
      await create();
      await using refusing = await openReceiver(404);
      const request = { generation, uploadId: SNAPSHOT_ID, format: 'raw', url: refusing.url } as const;
      await assert.rejects(
        finish(() => host().upload(VOLUME_ID, request)),
        /not taken: status 404/,
      );
      await using silent = await openReceiver(null);
      const pending = await host().upload(VOLUME_ID, { ...request, url: silent.url });
      assert.equal(value(pending).state, 'pending');
      const waits = await host().extend(VOLUME_ID, { generation, sizeBytes: 2 * GIB });
      assert.equal(value(waits).state, 'pending', 'one thing after the other');
      const { sizeBytes, busy } = await stored();
      assert.deepEqual([sizeBytes, busy], [GIB, true]);
      await finish(() => host().endUpload(VOLUME_ID, { generation }));
      await finish(() => host().extend(VOLUME_ID, { generation, sizeBytes: 2 * GIB }));
      assert.deepEqual((await stored()).snapshots, []);
    });

    test('a restarted agent remembers, and serves as before', async () => {
      await begin();
      await create();
      const connection = overNbd(await grant());
      const before = await stored();
      await storage.restart();
      assert.deepEqual(await stored(), before);
      assert.equal(await storage.reach(connection), true);
      assert.deepEqual(overNbd(await grant()), connection);
      const old = await host().revoke(VOLUME_ID, ATTACHMENT, { serverId: SERVER_ID, generation: generation - 5 });
      assert.deepEqual(old, { kind: 'fenced', generation });
      assert.equal(await storage.reach(connection), true);
    });

    for (const [name, call] of Object.entries(VOLUME_CALLS)) {
      test(`${name} at an older generation of the volume is fenced and changes nothing`, async () => {
        await begin();
        await create();
        const before = await stored();
        assert.deepEqual(await call(host(), generation - 1), { kind: 'fenced', generation });
        assert.deepEqual(await stored(), before);
      });
    }

    test('a volume is fenced before it is here, and by that alone', async () => {
      await begin();
      value(await host().fenceVolume(VOLUME_ID, { generation }));
      const late = await host().create(VOLUME_ID, {
        generation: generation - 1,
        sizeBytes: GIB,
        source: { kind: 'blank' },
      });
      assert.deepEqual(late, { kind: 'fenced', generation });
      await create();
      value(await host().fenceVolume(VOLUME_ID, { generation: generation + 1 }));
      const grown = await host().extend(VOLUME_ID, { generation, sizeBytes: 2 * GIB });
      assert.deepEqual(grown, { kind: 'fenced', generation: generation + 1 });
      assert.equal((await stored()).sizeBytes, GIB);
    });

    for (const [name, call] of Object.entries(SERVER_CALLS)) {
      test(`${name} at an older generation of the server is fenced, on every volume`, async () => {
        await begin();
        await create();
        value(await host().fence(SERVER_ID, { generation }));
        assert.deepEqual(await call(host(), generation - 1), { kind: 'fenced', generation });
        assert.deepEqual((await stored()).grants, []);
        value(await host().fence(OTHER_SERVER_ID, { generation }));
      });
    }
  });
}
