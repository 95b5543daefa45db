// A whole system on the services of a real OpenStack, and a user of it: for tests that run where one is named.
//   CROSSCELL_TEST_KEYSTONE=http://127.0.0.1:5000/v3 with OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME (an administrator)
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { Type } from 'typebox';
import { composeSystem } from '../../src/cli/compose.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { placementOf } from '../../src/openstack/placement.ts';
import { createSession, type Session } from '../../src/openstack/session.ts';
import type { RealService } from '../../src/openstack/settings.ts';
import type { Stores } from '../../src/store/stores.ts';

const keystone = process.env['CROSSCELL_TEST_KEYSTONE'];

/** Why tests against a real OpenStack are left out; false: they run. */
export const skip = keystone === undefined && 'CROSSCELL_TEST_KEYSTONE names no Keystone';

const LIMIT_MS = 300_000;

export interface RealSystem extends AsyncDisposable {
  /** Where the API is. */
  readonly url: string;
  /** The user's. */
  readonly token: string;
  readonly stores: Stores;
  /** The real services, as the service user sees them. */
  readonly session: Session;
  /** A request as the user; the answer's JSON. Any status from 400 on but `allowed` fails the test. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  call(method: string, path: string, body?: unknown, allowed?: number): Promise<any>;
  /** Waits until the server is in that status. */
  reach(serverId: string, status: string): Promise<Record<string, unknown>>;
  gone(serverId: string): Promise<void>;
  /** Waits until nothing is done to the server. */
  idle(serverId: string): Promise<void>;
}

/** Two cells of one simulated host each, so that every move crosses. */
export async function realSystem(services: readonly RealService[], tokenCacheSeconds = 3600): Promise<RealSystem> {
  assert(keystone !== undefined);
  const {
    OS_USERNAME: username = 'admin',
    OS_PASSWORD: password = '',
    OS_PROJECT_NAME: project = 'admin',
  } = process.env;
  const directory = mkdtempSync(join(tmpdir(), 'crosscell-real-'));
  const password_file = join(directory, 'password');
  writeFileSync(password_file, password, { mode: 0o600 });
  const openstack = { auth_url: keystone, username, password_file, project_name: project, services: [...services] };
  const deployment = planDeployment(
    { openstack: { ...openstack, timeout_seconds: 60, token_cache_seconds: tokenCacheSeconds } },
    { data: directory, listen: '127.0.0.1:0', hypervisor: 'simulated', cells: 2, hostsPerCell: 1 },
  );
  const log = pino({ level: process.env['CROSSCELL_TEST_LOG'] ?? 'silent' });
  const system = await composeSystem(deployment, { log, memoryDatabases: true, memoryHosts: true, checkAnswers: true });
  assert(deployment.openstack);
  const token = await tokenFor({
    identity: { methods: ['password'], password: { user: { name: username, domain: DOMAIN, password } } },
    scope: { project: { name: project, domain: DOMAIN } },
  });

  const send = async (method: string, path: string, body?: unknown): Promise<Response> =>
    fetch(`${system.url}${path}`, {
      method,
      headers: { 'x-auth-token': token, 'openstack-api-version': 'compute 2.90', 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const call: RealSystem['call'] = async (method, path, body, allowed) => {
    const response = await send(method, path, body);
    const text = await response.text();
    assert.ok(response.status < 400 || response.status === allowed, `${method} ${path}: ${response.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  };
  const session = createSession({ settings: { ...deployment.openstack, password }, clock: systemClock, log });
  return {
    ...{ url: system.url, token, stores: system.stores, session },
    call,
    reach: (id, status) =>
      eventually(async () => {
        const { server } = await call('GET', `/compute/v2.1/servers/${id}`);
        assert.ok(server.status !== 'ERROR' || status === 'ERROR', JSON.stringify(server.fault));
        return server.status === status && server['OS-EXT-STS:task_state'] === null ? server : null;
      }),
    gone: async (id) => {
      await eventually(async () => (await send('GET', `/compute/v2.1/servers/${id}`)).status === 404 || null);
    },
    idle: async (id) => {
      const active = () =>
        system.stores.global.selectFrom('sagas').select('id').where('key', '=', id).where('status', '=', 'active');
      await eventually(async () => ((await active().execute()).length === 0 ? true : null));
    },
    async [Symbol.asyncDispose]() {
      const providers = await system.stores.global.selectFrom('placement_providers').select('provider_id').execute();
      await system.stop({ guestsWithinSeconds: null });
      for (const { provider_id: id } of providers) await placementOf(session).removeProvider(id);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** What `look` sees in the end; null: not yet. */
export async function eventually<T>(look: () => Promise<T | null>): Promise<T> {
  for (const end = Date.now() + LIMIT_MS; Date.now() < end; await delay(200)) {
    const seen = await look();
    if (seen !== null) return seen;
  }
  return assert.fail('it did not come about in time');
}

const DOMAIN = { name: 'Default' };

/** A token of the real Keystone. */
export async function tokenFor(auth: object): Promise<string> {
  const response = await askKeystone('POST', '/auth/tokens', {}, { auth });
  assert.equal(response.status, 201, await response.text());
  return response.headers.get('x-subject-token') ?? '';
}

/** A request to the real Keystone. */
export const askKeystone = (method: string, path: string, headers: Record<string, string>, body?: object) =>
  fetch(`${keystone}${path}`, {
    ...{ method, headers: { ...headers, 'content-type': 'application/json' } },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

const Images = Type.Object({ images: Type.Array(Type.Object({ id: Type.String(), size: Type.Integer() })) });

/** Ids of the images of that name in the real Glance. */
export async function imagesNamed(session: Session, name: string): Promise<readonly string[]> {
  const said = await session.ask(Images, { service: 'image', method: 'GET', path: `/images?name=${name}` });
  assert.equal(said.kind, 'ok');
  return said.kind === 'ok' ? said.body.images.map(({ id }) => id) : [];
}

/** The image may be deleted again. */
export async function unprotect(session: Session, id: string): Promise<void> {
  const headers = { 'content-type': 'application/openstack-images-v2.1-json-patch' };
  const body = [{ op: 'replace', path: '/protected', value: false }];
  const said = await session.ask(null, { service: 'image', method: 'PATCH', path: `/images/${id}`, headers, body });
  assert.equal(said.kind, 'ok');
}

/** The smallest public image of the real Glance that hosts can use. */
export async function smallestImage(session: Session): Promise<string> {
  const path = '/images?visibility=public&status=active&disk_format=in:qcow2,raw&sort=size:asc&limit=1';
  const said = await session.ask(Images, { service: 'image', method: 'GET', path });
  const [image] = said.kind === 'ok' ? said.body.images : [];
  assert.ok(image, 'Glance has no public image');
  return image.id;
}
