// Providers, candidates and allocations of a Placement, microversion 1.31 (Stein); with the service user's rights.
//
// Theory of operation. Providers have the ids of our hosts, consumers those of servers and migrations. Each consumer has a
// generation there: a write names the one that was read, and is turned away (`changed`) when somebody wrote between. So
// who reads Placement first, and what it is to say after that, never writes what is outdated. Writing several consumers
// at once is one transaction there. All writes may be repeated: a second one meets its own generation.
import { Type } from 'typebox';
import type { Resources } from '../model/types.ts';
import type { Said, Session } from './session.ts';

const Text = Type.String({ maxLength: 65_536 });
const ById = <T extends Parameters<typeof Type.Record>[1]>(type: T) => Type.Record(Text, type);
const Generation = Type.Integer();

const Candidates = Type.Object({
  allocation_requests: Type.Array(Type.Object({ allocations: ById(Type.Unknown()) }), { maxItems: 100_000 }),
});
const Allocations = Type.Object({
  allocations: ById(Type.Object({ resources: ById(Type.Integer()) })),
  consumer_generation: Type.Optional(Type.Union([Generation, Type.Null()])),
  project_id: Type.Optional(Text),
  user_id: Type.Optional(Text),
});
const Inventories = Type.Object({
  inventories: ById(Type.Unknown()),
  resource_provider_generation: Generation,
});
const Traits = Type.Object({ traits: Type.Array(Text), resource_provider_generation: Generation });
const Provider = Type.Object({ uuid: Text, name: Text });

/** By provider id: what is held of it. */
export type Held = Readonly<Record<string, Resources>>;

/** What a consumer has in Placement. */
export interface Consumption {
  readonly held: Held;
  /** Null: there is no such consumer. */
  readonly generation: number | null;
  /** Of a consumer that is there. */
  readonly projectId: string;
  readonly userId: string;
}

export interface CandidatesWish {
  readonly resources: Resources;
  /** Names of traits; with a `!` before them those that a provider must not have. */
  readonly traits: readonly string[];
  /** Provider that alone counts; null: any. */
  readonly only: string | null;
  /** Most providers. */
  readonly limit: number;
}

export interface InventoryThere {
  readonly total: number;
  readonly reserved: number;
  readonly allocation_ratio: number;
}

export interface Placement {
  /** Ids of providers that can give it all by themselves; refused for a trait that is not known. @throws ServiceDown */
  candidates(wish: CandidatesWish): Promise<Said<readonly string[]>>;
  /** @throws ServiceDown, PlacementRefused */
  consumption(consumerId: string): Promise<Consumption>;
  /** In one transaction: what each of the consumers holds from now on, perhaps nothing. @throws ServiceDown */
  write(changes: ReadonlyMap<string, Consumption>): Promise<'done' | 'changed' | { readonly refused: string }>;
  /** The provider is there; new, it has these inventories. @throws ServiceDown, PlacementRefused */
  ensureProvider(id: string, name: string, inventories: Readonly<Record<string, InventoryThere>>): Promise<void>;
  /** The provider has these traits and not those; others stay. @throws ServiceDown, PlacementRefused */
  setTraits(id: string, has: readonly string[], hasNot: readonly string[]): Promise<void>;
  /** Refused while somebody holds something of it. @throws ServiceDown, PlacementRefused */
  removeProvider(id: string): Promise<void>;
}

/** Placement said no to what it should not: an operator has to look. */
export class PlacementRefused extends Error {
  override readonly name = 'PlacementRefused';
}

const CONCURRENT = 'placement.concurrent_update';
/** How often a provider is read anew when somebody else changes it meanwhile. */
const ROUNDS = 5;

/** Ids are UUIDs of ours. */
export function placementOf(session: Session): Placement {
  const service = 'placement' as const;
  const headers = { 'openstack-api-version': 'placement 1.31' };
  const get = (path: string) => ({ service, method: 'GET', path, headers }) as const;
  const send = (method: 'POST' | 'PUT' | 'DELETE', path: string, body?: object) =>
    session.ask(null, {
      ...{ service, method, path, headers, repeatable: true },
      ...(body === undefined ? {} : { body }),
    });
  const provider = (id: string): string => `/resource_providers/${id}`;

  /** Reads, and writes what `work` makes of it, until nobody has written between. */
  async function unhindered(work: () => Promise<Said<null> | null>): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      const said = await work();
      if (said === null || said.kind === 'ok') return;
      if (said.code !== CONCURRENT) throw new PlacementRefused(`Placement refuses: ${said.status} ${said.message}`);
    }
    throw new PlacementRefused('a provider changes in Placement all the time');
  }

  return {
    async candidates({ resources, traits, only, limit }) {
      const query = new URLSearchParams({
        resources: Object.entries(resources)
          .filter(([, amount]) => amount > 0)
          .map(([name, amount]) => `${name}:${amount}`)
          .join(','),
        ...{ required: traits.join(','), limit: String(limit) },
        ...(only === null ? {} : { in_tree: only }),
      });
      const said = await session.ask(Candidates, get(`/allocation_candidates?${query}`));
      if (said.kind === 'refused') return said;
      const sets = said.body.allocation_requests.map(({ allocations }) => Object.keys(allocations));
      // What takes a second provider (storage that is shared) is more than a host of ours can give.
      return { ...said, body: [...new Set(sets.flatMap((ids) => (ids.length === 1 ? ids : [])))] };
    },
    async consumption(consumerId) {
      const body = await answered(session.ask(Allocations, get(`/allocations/${consumerId}`)));
      const entries = Object.entries(body.allocations).map(([id, { resources }]) => [id, resources] as const);
      return {
        ...{ held: Object.fromEntries(entries), generation: body.consumer_generation ?? null },
        ...{ projectId: body.project_id ?? '', userId: body.user_id ?? '' },
      };
    },
    async write(changes) {
      const body = [...changes].map(([id, { held, generation, projectId, userId }]) => {
        const allocations = Object.entries(held).map(([at, resources]) => [at, { resources }]);
        const said = { consumer_generation: generation, project_id: projectId, user_id: userId };
        return [id, { allocations: Object.fromEntries(allocations), ...said }];
      });
      const said = await send('POST', '/allocations', Object.fromEntries(body));
      if (said.kind === 'ok') return 'done';
      return said.code === CONCURRENT ? 'changed' : { refused: said.message };
    },
    async ensureProvider(id, name, inventories) {
      const said = await send('POST', '/resource_providers', { uuid: id, name });
      // Of an attempt before, or another provider of that name.
      if (said.kind === 'refused') await answered(session.ask(Provider, get(provider(id))), said.message);
      await unhindered(async () => {
        const there = await answered(session.ask(Inventories, get(`${provider(id)}/inventories`)));
        if (Object.keys(there.inventories).length > 0) return null;
        const generation = { resource_provider_generation: there.resource_provider_generation };
        return send('PUT', `${provider(id)}/inventories`, { ...generation, inventories });
      });
    },
    async setTraits(id, has, hasNot) {
      for (const name of has) {
        // A trait of an operator's own has to be there before it is given to anything.
        if (name.startsWith('CUSTOM_')) await unhindered(() => send('PUT', `/traits/${name}`));
      }
      await unhindered(async () => {
        const there = await answered(session.ask(Traits, get(`${provider(id)}/traits`)));
        const traits = [...new Set([...there.traits, ...has])].filter((name) => !hasNot.includes(name));
        if (traits.length === there.traits.length && has.every((name) => there.traits.includes(name))) return null;
        const generation = { resource_provider_generation: there.resource_provider_generation };
        return send('PUT', `${provider(id)}/traits`, { ...generation, traits });
      });
    },
    async removeProvider(id) {
      await unhindered(async () => {
        const said = await send('DELETE', provider(id));
        return said.kind === 'refused' && said.status === 404 ? null : said;
      });
    },
  };
}

async function answered<T>(said: Promise<Said<T>>, otherwise?: string): Promise<T> {
  const answer = await said;
  if (answer.kind === 'ok') return answer.body;
  throw new PlacementRefused(`Placement refuses: ${otherwise ?? `${answer.status} ${answer.message}`}`);
}
