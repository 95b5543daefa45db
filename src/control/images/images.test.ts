import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { newId } from '../../lib/ids.ts';
import type { Actor } from '../../model/types.ts';
import { insertSaga, newSaga } from '../../store/sagas.ts';
import { baseImageOf, findBaseImage, findImage, imageFile, isForGuests } from '../images.ts';
import type { Platform } from '../platform.ts';
import { addTag, type ImageChange, removeTag, updateImage } from './changes.ts';
import { collectUnusedImages, forgetUploads, GRACE_MS } from './collect.ts';
import { contradiction } from './inspect.ts';
import { listImages } from './listing.ts';
import { createImage, deleteImage, type NewImage, showImage } from './records.ts';
import { admin, type ImageWorld, imageWorld, member, qcow2, stranger } from './testing.ts';
import { receiveImage, STALLED_MS, uploadImage } from './upload.ts';

const PLAIN: NewImage = {
  name: 'a',
  diskFormat: 'raw',
  containerFormat: 'bare',
  visibility: 'private',
  minDiskGb: 0,
  minRamMb: 0,
  protected: false,
  hidden: false,
  properties: {},
  tags: [],
};

async function created(p: Platform, actor: Actor, part: Partial<NewImage> = {}) {
  const result = await createImage(p, actor, { ...PLAIN, ...part });
  assert.equal(result.kind, 'ok', JSON.stringify(result));
  return result.image;
}

/** Chunks of uneven size, as a network brings them. */
const streamOf = (data: Buffer): Readable => {
  const chunks: Buffer[] = [];
  for (let at = 0, n = 1; at < data.length; at += n, n = (n * 7 + 1) % 40_000) chunks.push(data.subarray(at, at + n));
  return Readable.from(chunks, { objectMode: false });
};

const upload = (p: Platform, actor: Actor, id: string, data: Buffer, declaredBytes: number | null = data.length) =>
  uploadImage(p, actor, id, { stream: streamOf(data), declaredBytes });

async function active(world: ImageWorld, part: Partial<NewImage> = {}, actor: Actor = member) {
  const { id } = await created(world.p, actor, part);
  const data = part.diskFormat === 'qcow2' ? qcow2() : Buffer.alloc(5000, 7);
  assert.equal(await upload(world.p, actor, id, data), null);
  const image = await findImage(world.p, id);
  assert.ok(image);
  return image;
}

async function filesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOENT');
    return [];
  }
}

describe('uploads', () => {
  test('a raw image is stored with its digests and sizes, and described to hosts', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const { id } = await created(p, member);
    const data = Buffer.alloc(100_001, 'crosscell');
    assert.equal(await upload(p, member, id, data, null), null);
    const image = await findImage(p, id);
    assert.ok(image);
    assert.equal(image.status, 'active');
    assert.equal(image.sizeBytes, data.length);
    assert.equal(image.virtualBytes, 100_352, 'whole sectors of 512 bytes');
    assert.equal(image.md5, createHash('md5').update(data).digest('hex'));
    assert.equal(image.sha256, createHash('sha256').update(data).digest('hex'));
    assert.equal(image.sha512, createHash('sha512').update(data).digest('hex'));
    assert.deepEqual(await readFile(imageFile(p, id)), data);
    assert.deepEqual(await filesIn(world.directory), [id]);
    assert.deepEqual(baseImageOf(p, image), {
      ...{ id, format: 'raw', sizeBytes: data.length, virtualBytes: 100_352, sha256: image.sha256 },
      url: `http://127.0.0.1:8774/crosscell/v1/images/${id}/data`,
    });
  });

  test('a qcow2 image has the virtual size of its header', async () => {
    await using world = await imageWorld();
    const image = await active(world, { diskFormat: 'qcow2' });
    assert.equal(image.virtualBytes, 1024 * 1024);
    assert.equal(image.sizeBytes, 4 * 65536);
  });

  test('bytes that are no disk are kept under the name of qcow2 for users, and for no guest', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const { id } = await created(p, member, { diskFormat: 'qcow2' });
    const received = await findImage(p, id);
    assert.ok(received && isForGuests(received));
    const stream = streamOf(Buffer.from('a line'));
    const refusal = await receiveImage(p, received, { stream, declaredBytes: null });
    assert.match(
      refusal?.message ?? '',
      /declared as qcow2 but its content is a raw disk/,
      'from hosts and from Glance',
    );
    assert.equal(await upload(p, member, id, Buffer.from('a line')), null);
    const image = await findImage(p, id);
    assert.ok(image);
    assert.equal(image.status, 'active');
    assert.equal(image.virtualBytes, null);
    assert.equal(isForGuests(image), false);
    assert.deepEqual(await readFile(imageFile(p, id), 'utf8'), 'a line');
  });

  const refusals: readonly [string, Partial<NewImage>, Buffer, number | null, number, RegExp][] = [
    ['too large', {}, Buffer.alloc(4 * 1024 * 1024 + 1), null, 413, /larger than 4194304 bytes/],
    ['announced too large', {}, Buffer.alloc(10), 5_000_000, 413, /larger than 4194304 bytes/],
    ['shorter than announced', {}, Buffer.alloc(10), 20, 400, /ended early: 10 bytes of the 20/],
    ['longer than announced', {}, Buffer.alloc(30), 20, 400, /30 bytes of the 20/],
    ['empty', {}, Buffer.alloc(0), 0, 400, /empty/],
    ['raw that is qcow2', {}, qcow2(), null, 400, /declared as raw but its content is a qcow2 image/],
    ['qcow2 that is VMDK', { diskFormat: 'qcow2' }, Buffer.from('KDMV'), null, 400, /declared as qcow2/],
    ['a backing file', { diskFormat: 'qcow2' }, qcow2({ backingFile: '/etc/passwd' }), null, 400, /backing file/],
    ['a data file', { diskFormat: 'qcow2' }, qcow2({ dataFile: '/etc/shadow' }), null, 400, /external file/],
    ['absurd', { diskFormat: 'qcow2' }, qcow2({ virtualBytes: 2n ** 62n }), null, 400, /virtual size|L1 table/],
    ['no format', { diskFormat: null }, Buffer.alloc(10), null, 400, /disk_format/],
  ];
  for (const [what, part, data, declared, code, sentence] of refusals) {
    test(`refused, nothing left: ${what}`, async () => {
      await using world = await imageWorld();
      const { id } = await created(world.p, member, part);
      const refusal = await upload(world.p, member, id, data, declared);
      assert.equal(refusal?.code, code);
      assert.match(refusal.message, sentence);
      assert.deepEqual(await filesIn(world.directory), []);
      assert.equal((await findImage(world.p, id))?.status, 'queued');
    });
  }

  test('a connection that breaks leaves a queued image that takes another upload', async () => {
    await using world = await imageWorld();
    const { id } = await created(world.p, member);
    const breaking = Readable.from(
      (function* () {
        yield Buffer.alloc(1000);
        throw new Error('aborted');
      })(),
    );
    const refusal = await uploadImage(world.p, member, id, { stream: breaking, declaredBytes: 5000 });
    assert.equal(refusal?.code, 400);
    assert.match(refusal.message, /ended early: 1000 bytes of the 5000/);
    assert.deepEqual(await filesIn(world.directory), []);
    assert.equal(await upload(world.p, member, id, Buffer.alloc(5000, 1)), null);
    assert.equal((await findImage(world.p, id))?.status, 'active');
  });

  test('one upload at a time, and none onto an active image', async () => {
    await using world = await imageWorld();
    const { id } = await created(world.p, member);
    const results = await Promise.all([1, 2].map((n) => upload(world.p, member, id, Buffer.alloc(5000, n))));
    assert.equal(results.filter((each) => each === null).length, 1);
    assert.equal(results.find((each) => each !== null)?.code, 409);
    const again = await upload(world.p, member, id, Buffer.alloc(5000, 9));
    assert.equal(again?.message, 'Image status transition from active to saving is not allowed');
    assert.deepEqual(await filesIn(world.directory), [id]);
  });

  test('an image deleted during its upload leaves nothing', async () => {
    await using world = await imageWorld();
    const { id } = await created(world.p, member);
    const stream = Readable.from(
      (async function* () {
        yield Buffer.alloc(1000, 1);
        assert.equal(await deleteImage(world.p, member, id), null);
        yield Buffer.alloc(1000, 1);
      })(),
    );
    const refusal = await uploadImage(world.p, member, id, { stream, declaredBytes: null });
    assert.equal(refusal?.code, 404);
    assert.deepEqual(await filesIn(world.directory), []);
    assert.equal(await findImage(world.p, id), null);
  });

  test('an upload that stands still is ended', async () => {
    await using world = await imageWorld();
    const { id } = await created(world.p, member);
    let now = world.p.clock.now();
    const clock = {
      now: () => now,
      sleep: async (ms: number) => {
        await new Promise(setImmediate);
        now += ms;
      },
    };
    const silent = new Readable({ read: () => undefined });
    silent.push(Buffer.alloc(1000));
    const refusal = await uploadImage({ ...world.p, clock }, member, id, { stream: silent, declaredBytes: null });
    assert.equal(refusal?.code, 400);
    assert.match(refusal.message, /No data came for 60 seconds/);
    assert.ok(silent.destroyed);
    assert.deepEqual(await filesIn(world.directory), []);
    assert.equal((await findImage(world.p, id))?.status, 'queued');
  });

  test("others' images: 404 when private, 403 when public", async () => {
    await using world = await imageWorld();
    const hidden = await created(world.p, member);
    assert.equal((await upload(world.p, stranger, hidden.id, Buffer.alloc(9)))?.code, 404);
    const open = await created(world.p, admin, { visibility: 'public' });
    assert.equal((await upload(world.p, stranger, open.id, Buffer.alloc(9)))?.code, 403);
    assert.equal((await upload(world.p, member, newId(), Buffer.alloc(9)))?.code, 404);
  });

  test('a property change during an upload does not disturb it', async () => {
    await using world = await imageWorld();
    const { id } = await created(world.p, member);
    const stream = Readable.from(
      (async function* () {
        yield Buffer.alloc(1000, 1);
        const changed = await updateImage(world.p, member, id, [{ op: 'add', path: 'k', value: 'v' }]);
        assert.equal(changed.kind, 'ok');
      })(),
    );
    assert.equal(await uploadImage(world.p, member, id, { stream, declaredBytes: null }), null);
    const image = await findImage(world.p, id);
    assert.deepEqual([image?.status, image?.properties['k'], image?.sizeBytes], ['active', 'v', 1000]);
  });

  test('nor does it disturb data that is being staged', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const { id } = await created(p, member);
    const stream = Readable.from(
      (async function* () {
        yield Buffer.alloc(1000, 1);
        world.advance(1000);
        assert.equal((await addTag(p, member, id, 'x')).kind, 'ok');
      })(),
    );
    const image = (await findImage(p, id)) ?? assert.fail();
    assert.equal(await receiveImage(p, image, { stream, declaredBytes: null }, 'uploading'), null);
    const staged = await findImage(p, id);
    assert.deepEqual([staged?.status, staged?.sizeBytes, staged?.tags], ['uploading', 1000, ['x']]);
  });
});

describe('records', () => {
  test('what may not be said is refused with the name of the field', async () => {
    await using world = await imageWorld();
    const cases: readonly [Partial<NewImage>, number, RegExp][] = [
      [{ name: '../../etc/passwd' }, 400, /name/],
      [{ name: 'a\0b' }, 400, /name.*control/],
      [{ name: 'a\nb' }, 400, /name.*control/],
      [{ name: 'x'.repeat(256) }, 400, /name/],
      [{ properties: { ['k'.repeat(256)]: 'v' } }, 400, /property name/],
      [{ properties: { k: 'v'.repeat(256) } }, 400, /property k/],
      [{ properties: { status: 'active' } }, 400, /status/],
      [{ properties: Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`k${i}`, 'v'])) }, 400, /properties/],
      [{ tags: ['t'.repeat(256)] }, 400, /tags/],
      [{ minDiskGb: -1 }, 400, /min_disk/],
      [{ minRamMb: 2 ** 40 }, 400, /min_ram/],
      [{ containerFormat: 'box' }, 400, /container/],
      [{ visibility: 'public' }, 403, /publicize_image/],
      [{ owner: 'p2' }, 403, /add_image/],
    ];
    for (const [part, code, sentence] of cases) {
      const result = await createImage(world.p, member, { ...PLAIN, ...part });
      assert.equal(result.kind, 'refused', JSON.stringify(part));
      assert.equal(result.refusal.code, code);
      assert.match(result.refusal.message, sentence);
    }
    assert.deepEqual((await world.p.stores.global.selectFrom('images').select('id').execute()).length, 0);
    assert.equal((await created(world.p, member, { name: 'ubuntu/24.04 (a..b)' })).name, 'ubuntu/24.04 (a..b)');
  });

  test('an id is taken once', async () => {
    await using world = await imageWorld();
    const id = newId();
    assert.equal((await created(world.p, member, { id })).id, id);
    const again = await createImage(world.p, member, { ...PLAIN, id });
    assert.equal(again.kind === 'refused' && again.refusal.code, 409);
  });

  test('who sees what', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const ids: Record<string, string> = {};
    for (const visibility of ['private', 'shared', 'community', 'public'] as const)
      ids[visibility] = (await created(p, admin, { visibility, owner: 'p1' })).id;
    const page = { sort: [{ key: 'created_at', descending: true }], limit: 10 } as const;
    const seen = async (actor: Actor, filter = {}) => {
      const list = await listImages(p, actor, filter, page);
      assert.equal(list.kind, 'ok');
      return list.images.map((image) => image.visibility).toSorted();
    };
    assert.deepEqual(await seen(member), ['community', 'private', 'public', 'shared']);
    assert.deepEqual(await seen(stranger), ['public']);
    assert.deepEqual(await seen(stranger, { visibility: 'community' }), ['community']);
    assert.deepEqual(await seen(stranger, { visibility: 'private' }), []);
    assert.equal((await seen(admin)).length, 4);
    for (const [visibility, id] of Object.entries(ids)) {
      const shown = await showImage(p, stranger, id);
      assert.equal(shown.kind, ['community', 'public'].includes(visibility) ? 'ok' : 'refused');
      const refusal = await deleteImage(p, stranger, id);
      assert.equal(refusal?.code, ['community', 'public'].includes(visibility) ? 403 : 404);
    }
  });

  test('lists by properties take whole names, with quotes in them or not', async () => {
    await using world = await imageWorld();
    const { p } = world;
    await created(p, member, { properties: { 'os"distro': 'x', about: '"distro":"x"' } });
    const found = async (properties: Record<string, string>) => {
      const list = await listImages(p, member, { properties }, { sort: [], limit: 10 });
      assert.equal(list.kind, 'ok');
      return list.images.length;
    };
    assert.equal(await found({ distro: 'x' }), 0);
    assert.equal(await found({ 'os"distro': 'x' }), 1);
    assert.equal(await found({ about: '"distro":"x"' }), 1);
  });

  test('lists: filters, order, pages that meet', async () => {
    await using world = await imageWorld();
    const { p } = world;
    for (const name of ['c', 'a', 'b', 'a', null])
      await created(p, member, { name, tags: name === 'b' ? ['x%y'] : ['xzy', 'says "x"'] });
    const names = async (filter: object, page: object) => {
      const list = await listImages(p, member, filter, {
        sort: [{ key: 'name', descending: false }],
        limit: 10,
        ...page,
      });
      assert.equal(list.kind, 'ok');
      return list;
    };
    assert.deepEqual(
      (await names({}, {})).images.map((each) => each.name),
      [null, 'a', 'a', 'b', 'c'],
    );
    assert.deepEqual((await names({ name: ['a'] }, {})).images.length, 2);
    assert.deepEqual(
      (await names({ tags: ['x%y'] }, {})).images.map((each) => each.name),
      ['b'],
    );
    assert.deepEqual((await names({ tags: ['X%y'] }, {})).images, []);
    assert.deepEqual((await names({ tags: ['xzy', 'says "x"'] }, {})).images.length, 4);
    // The end of a tag is no tag, quoted or not.
    assert.deepEqual((await names({ tags: ['x"'] }, {})).images, []);
    for (const descending of [false, true]) {
      const walked: string[] = [];
      for (let marker: string | undefined, more = true; more; ) {
        const page = await names({}, { descending, limit: 2, ...(marker === undefined ? {} : { marker }) });
        walked.push(...page.images.map((each) => each.id));
        marker = page.images.at(-1)?.id;
        more = page.more;
      }
      assert.deepEqual(
        walked,
        (await names({}, { descending })).images.map((each) => each.id),
      );
      assert.equal(new Set(walked).size, 5);
    }
    const wrong = await listImages(
      p,
      member,
      {},
      { sort: [{ key: 'id', descending: true }], limit: 2, marker: newId() },
    );
    assert.equal(wrong.kind === 'refused' && wrong.refusal.code, 400);
  });

  test('what Glance keeps to itself is written by no user', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const reserved = {
      kind: 'refused',
      refusal: { code: 403, message: "Attribute 'os_glance_importing' is reserved." },
    };
    const properties = { os_glance_importing: 'x' };
    assert.deepEqual(await createImage(p, member, { ...PLAIN, properties }), reserved);
    const { id } = await created(p, member);
    await p.stores.global
      .updateTable('images')
      .set({ properties_json: JSON.stringify(properties) })
      .execute();
    for (const op of ['add', 'replace', 'remove'] as const)
      assert.deepEqual(await updateImage(p, member, id, [{ op, path: 'os_glance_importing', value: 'y' }]), reserved);
    assert.deepEqual((await findImage(p, id))?.properties, properties);
  });

  test('patches: applied in order, all or none', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const { id } = await created(p, member, { properties: { os: 'debian' } });
    const patch = (changes: ImageChange[], actor = member) => updateImage(p, actor, id, changes);
    const done = await patch([
      { op: 'replace', path: 'name', value: 'new' },
      { op: 'replace', path: 'min_disk', value: 3 },
      { op: 'add', path: 'hw/cpu', value: 'x' },
      { op: 'replace', path: 'os', value: 'alpine' },
      { op: 'add', path: '__proto__', value: 'y' },
      { op: 'replace', path: 'tags', value: ['b', 'b'] },
    ]);
    assert.equal(done.kind, 'ok');
    const image = await findImage(p, id);
    assert.deepEqual(image, done.image);
    assert.deepEqual([image?.name, image?.minDiskGb, image?.tags], ['new', 3, ['b']]);
    assert.deepEqual(Object.entries(image?.properties ?? {}), [
      ['os', 'alpine'],
      ['hw/cpu', 'x'],
      ['__proto__', 'y'],
    ]);
    assert.equal((await patch([{ op: 'remove', path: 'os' }])).kind, 'ok');

    const refused: readonly [ImageChange, number][] = [
      [{ op: 'remove', path: 'name' }, 403],
      [{ op: 'remove', path: 'gone' }, 409],
      [{ op: 'replace', path: 'gone', value: 'x' }, 409],
      [{ op: 'replace', path: 'status', value: 'active' }, 403],
      [{ op: 'replace', path: 'owner', value: 'p2' }, 403],
      [{ op: 'replace', path: 'visibility', value: 'public' }, 403],
      [{ op: 'replace', path: 'visibility', value: 'secret' }, 400],
      [{ op: 'replace', path: 'min_ram', value: 'x' }, 400],
      [{ op: 'replace', path: 'min_ram', value: -1 }, 400],
      [{ op: 'replace', path: 'name', value: '../x' }, 400],
      [{ op: 'add', path: 'k', value: 7 }, 400],
      [{ op: 'replace', path: 'protected', value: 'yes' }, 400],
    ];
    const before = await findImage(p, id);
    for (const [change, code] of refused) {
      const result = await patch([{ op: 'replace', path: 'name', value: 'lost' }, change]);
      assert.equal(result.kind === 'refused' && result.refusal.code, code, JSON.stringify(change));
    }
    assert.deepEqual(await findImage(p, id), before);
    assert.equal((await patch([{ op: 'replace', path: 'visibility', value: 'public' }], admin)).kind, 'ok');
    assert.equal((await patch([], stranger)).kind === 'refused', true);
  });

  test('tags come and go', async () => {
    await using world = await imageWorld();
    const { id } = await created(world.p, member);
    assert.equal((await addTag(world.p, member, id, 'x')).kind, 'ok');
    assert.equal((await addTag(world.p, member, id, 'x')).kind, 'ok');
    assert.deepEqual((await findImage(world.p, id))?.tags, ['x']);
    assert.equal((await removeTag(world.p, member, id, 'x')).kind, 'ok');
    const again = await removeTag(world.p, member, id, 'x');
    assert.equal(again.kind === 'refused' && again.refusal.code, 404);
  });
});

describe('deleting', () => {
  test('protected images stay', async () => {
    await using world = await imageWorld();
    const { id } = await created(world.p, member, { protected: true });
    assert.deepEqual(await deleteImage(world.p, member, id), {
      code: 403,
      message: `Image ${id} is protected and cannot be deleted.`,
    });
  });

  test('users see a deleted image no more; its file goes when the last server made from it has gone', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const used = await active(world);
    const unused = await active(world);
    const fresh = await active(world);
    await withServer(p, 'c1', 's1', used.id);
    for (const image of [used, unused]) assert.equal(await deleteImage(p, member, image.id), null);
    assert.equal(await findImage(p, used.id), null);
    assert.equal((await showImage(p, admin, used.id)).kind, 'refused');
    assert.deepEqual(await findBaseImage(p, used.id), baseImageOf(p, used), 'hosts still get it');

    assert.deepEqual((await collectUnusedImages(p)).removed, [], 'not at once');
    world.advance(GRACE_MS + 1);
    const saga = newSaga(
      {
        ...{
          id: 'saga',
          definition: { name: 'create volume', version: 1, subject: 'volume', steps: [], pivot: 0 },
          key: 'v',
          retries: 0,
        },
        ...{ state: { source: { kind: 'image', imageId: unused.id } }, requestId: 'r' },
      },
      p.clock.now(),
    );
    await insertSaga(p.stores.global, saga);
    assert.deepEqual(
      (await collectUnusedImages(p)).removed,
      [],
      'a volume is being made of one, a server stands on the other',
    );
    await p.stores.global.updateTable('sagas').set({ status: 'done' }).execute();
    assert.deepEqual((await collectUnusedImages(p)).removed, [unused.id]);
    assert.deepEqual((await filesIn(world.directory)).toSorted(), [used.id, fresh.id].toSorted());

    const cell = await p.stores.cell('c1');
    await cell.updateTable('servers').set({ deleted_at: 1 }).where('id', '=', 's1').execute();
    assert.deepEqual((await collectUnusedImages(p)).removed, [used.id]);
    assert.deepEqual(await filesIn(world.directory), [fresh.id]);
    assert.equal(await findBaseImage(p, used.id), null);
    assert.deepEqual(await collectUnusedImages(p), { removed: [], requeued: [], swept: [] });
  });

  test('while a cell is down nothing is removed', async () => {
    await using world = await imageWorld();
    const { p } = world;
    const image = await active(world);
    await p.stores.global
      .insertInto('cells')
      .values({ id: 'c1', name: 'c1', disabled: 0, unreachable_since: null, created_at: 1 })
      .execute();
    await deleteImage(p, member, image.id);
    world.advance(GRACE_MS + 1);
    const { CellDown } = await import('../../store/stores.ts');
    const stores = { ...p.stores, cell: (id: string) => Promise.reject(new CellDown(id, 'gone')) };
    assert.deepEqual((await collectUnusedImages({ ...p, stores })).removed, []);
    assert.deepEqual((await collectUnusedImages(p)).removed, [image.id]);
  });

  test('what dead uploads left is cleaned up, and nothing else', async () => {
    await using world = await imageWorld();
    const { p, directory } = world;
    const kept = await active(world);
    const stalled = await created(p, member);
    await p.stores.global.updateTable('images').set({ status: 'saving' }).where('id', '=', stalled.id).execute();
    const orphan = newId();
    const files = [`${stalled.id}.0011.part`, orphan, stalled.id, 'notes.txt', `${kept.id}.bak`];
    for (const name of files) await writeFile(join(directory, name), 'x');
    assert.deepEqual(await collectUnusedImages(p), { removed: [], requeued: [], swept: [] });
    world.advance(STALLED_MS + 1000);
    await utimes(imageFile(p, kept.id), 1, 1);
    const round = await collectUnusedImages(p);
    assert.deepEqual(round.requeued, [stalled.id]);
    assert.deepEqual([...round.swept].toSorted(), [`${stalled.id}.0011.part`, orphan, stalled.id].toSorted());
    assert.deepEqual((await filesIn(directory)).toSorted(), ['notes.txt', `${kept.id}.bak`, kept.id].toSorted());
    assert.equal((await findImage(p, stalled.id))?.status, 'queued');
  });
});

test('at the start of a lone control plane every upload is dead', async () => {
  await using world = await imageWorld();
  const { p, directory } = world;
  const kept = await active(world);
  const dead = await created(p, member);
  const saving = { status: 'saving', updated_at: p.clock.now() };
  await p.stores.global.updateTable('images').set(saving).where('id', '=', dead.id).execute();
  await writeFile(join(directory, `${dead.id}.0011.part`), 'x');
  world.advance(50);
  assert.deepEqual(await forgetUploads(p), { requeued: [dead.id], swept: [`${dead.id}.0011.part`] });
  assert.deepEqual(await filesIn(directory), [kept.id]);
  assert.equal(await upload(p, member, dead.id, Buffer.alloc(100)), null);
});

test("qemu-img's description must say what the header said", () => {
  const good = { format: 'qcow2', 'virtual-size': 512, 'format-specific': { type: 'qcow2', data: { corrupt: false } } };
  assert.equal(contradiction(JSON.stringify(good), 512), null);
  for (const [change, sentence] of [
    [{ format: 'raw' }, /another format/],
    [{ 'virtual-size': 1024 }, /virtual size/],
    [{ 'backing-filename': '/x' }, /backing/],
    [{ 'full-backing-filename': '/x' }, /backing/],
    [{ encrypted: true }, /encrypted/],
    [{ 'format-specific': { data: { 'data-file': '/x' } } }, /external/],
    [{ 'format-specific': { data: { corrupt: true } } }, /corrupt/],
  ] as const) {
    assert.match(contradiction(JSON.stringify({ ...good, ...change }), 512) ?? '', sentence);
  }
  for (const nonsense of ['', 'x', '[]', 'null']) assert.match(contradiction(nonsense, 512) ?? '', /cannot be read/);
});

async function withServer(p: Platform, cellId: string, serverId: string, imageId: string): Promise<void> {
  await p.stores.global
    .insertInto('cells')
    .values({ id: cellId, name: cellId, disabled: 0, unreachable_since: null, created_at: 1 })
    .execute();
  const cell = await p.stores.cell(cellId);
  const texts = { name: 's', hostname: 's', project_id: 'p1', user_id: 'u1', flavor_json: '{}', vm_state: 'active' };
  const rest = { disk_config: 'AUTO', reservation_id: 'r', metadata_json: '{}', tags_json: '[]' };
  const numbers = {
    revision: 0,
    frozen: 0,
    power_state: 1,
    progress: 0,
    locked: 0,
    launch_index: 0,
    created_at: 1,
    updated_at: 1,
  };
  const image_json = JSON.stringify({ id: imageId, minDiskGb: 0, minRamMb: 0, properties: {} });
  await cell
    .insertInto('servers')
    .values({ id: serverId, image_json, ...texts, ...rest, ...numbers })
    .execute();
}
