// For the tests beside it: the network API over a world of its own, with both networks that an installation begins with.
import type { FastifyInstance } from 'fastify';
import { type ImageWorld, imageWorld } from '../../control/images/testing.ts';
import { seedNetworks } from '../../control/network/seed.ts';
import type { Principal } from '../../model/types.ts';
import { buildApp } from '../http/app.ts';
import { networkRoutes } from './routes.ts';

/** By their tokens. `member` and `reader` are of one project. */
const PEOPLE: Record<string, Principal> = {
  admin: { userId: 'u0', projectId: 'p0', roles: ['admin'] },
  member: { userId: 'u1', projectId: 'p1', roles: ['member'] },
  stranger: { userId: 'u2', projectId: 'p2', roles: ['member'] },
  reader: { userId: 'u3', projectId: 'p1', roles: ['reader'] },
};

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

export class NetworkApi implements AsyncDisposable {
  readonly world: ImageWorld;
  readonly #app: FastifyInstance;

  private constructor(world: ImageWorld, app: FastifyInstance) {
    this.world = world;
    this.#app = app;
  }

  static async open(): Promise<NetworkApi> {
    const world = await imageWorld();
    const cidrs = { networkCidr: '10.42.0.0/24', externalCidr: '172.24.4.0/24' };
    await seedNetworks(world.p.stores.global, cidrs, world.p.clock.now());
    const tokens = { principalOf: async (token: string) => PEOPLE[token] ?? null };
    const app = await buildApp({ platform: world.p, tokens, routes: networkRoutes, checkAnswers: true });
    return new NetworkApi(world, app);
  }

  /** `path`: below `/network/v2.0/`, or a link of an answer. */
  readonly call = async (who: string, method: Method, path: string, payload?: object, more: object = {}) => {
    const url = path.startsWith('http') ? path.slice(path.indexOf('/network')) : `/network/v2.0/${path}`;
    const headers = { 'x-auth-token': who, ...more };
    const answer = await this.#app.inject({ method, url, headers, ...(payload ? { payload } : {}) });
    return { status: answer.statusCode, body: answer.body === '' ? null : answer.json() };
  };

  /** Status, and what Neutron calls the error. */
  readonly errorOf = async (...request: Parameters<NetworkApi['call']>) => {
    const { status, body } = await this.call(...request);
    return [status, body?.NeutronError?.type];
  };

  /** The id of the network of that name. */
  async idOf(network: string): Promise<string> {
    return (await this.call('admin', 'GET', `networks?name=${network}`)).body.networks[0].id;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#app.close();
    await this.world[Symbol.asyncDispose]();
  }
}
