// For tests alone: a Placement of a few lines, with its generations and its refusals.
import { capacity } from '../../model/placement.ts';
import type { ResourceClass, Resources } from '../../model/types.ts';
import type { CandidatesWish, Consumption, InventoryThere, Placement } from '../../openstack/placement.ts';
import { PlacementRefused } from '../../openstack/placement.ts';
import { ServiceDown } from '../../openstack/transport.ts';

export interface FakeProvider {
  readonly name: string;
  inventories: Readonly<Record<string, InventoryThere>>;
  readonly traits: Set<string>;
}

const NOBODY: Consumption = { held: {}, generation: null, projectId: '', userId: '' };

export class FakePlacement implements Placement {
  readonly providers = new Map<string, FakeProvider>();
  readonly consumers = new Map<string, Consumption>();
  readonly wishes: CandidatesWish[] = [];
  writes = 0;
  isDown = false;
  /** Called before a write takes effect and when it has; may change the world, and throw. */
  beforeWrite: () => Promise<void> = async () => undefined;
  afterWrite: () => Promise<void> = async () => undefined;

  /** `consumer provider class amount` of all that is held, in order. */
  lines(): string[] {
    const held = [...this.consumers].flatMap(([consumer, has]) =>
      Object.entries(has.held).flatMap(([at, resources]) =>
        Object.entries(resources).map(([name, amount]) => `${consumer} ${at} ${name} ${amount}`),
      ),
    );
    return held.toSorted();
  }

  async candidates(wish: CandidatesWish) {
    this.#asked();
    this.wishes.push(wish);
    const ids = [...this.providers].flatMap(([id, { traits }]) => {
      const fits = wish.traits.every((name) => (name.startsWith('!') ? !traits.has(name.slice(1)) : traits.has(name)));
      const isAsked = wish.only === null || wish.only === id;
      return fits && isAsked && this.#shortage(id, wish.resources) === null ? [id] : [];
    });
    return { kind: 'ok' as const, status: 200, body: ids.slice(0, wish.limit), headers: new Headers() };
  }
  async consumption(consumerId: string) {
    this.#asked();
    return this.consumers.get(consumerId) ?? NOBODY;
  }
  async write(changes: ReadonlyMap<string, Consumption>) {
    this.#asked();
    await this.beforeWrite();
    for (const [id, { generation }] of changes) {
      if ((this.consumers.get(id) ?? NOBODY).generation !== generation) return 'changed' as const;
    }
    const before = new Map(this.consumers);
    for (const id of changes.keys()) this.consumers.delete(id);
    for (const [id, change] of changes) {
      for (const [at, resources] of Object.entries(change.held)) {
        const refused = this.#shortage(at, resources);
        if (refused === null) continue;
        this.consumers.clear();
        for (const [each, was] of before) this.consumers.set(each, was);
        return { refused };
      }
      const generation = (change.generation ?? 0) + 1;
      if (Object.keys(change.held).length > 0) this.consumers.set(id, { ...change, generation });
    }
    this.writes += 1;
    await this.afterWrite();
    return 'done' as const;
  }
  async ensureProvider(id: string, name: string, inventories: Readonly<Record<string, InventoryThere>>) {
    this.#asked();
    if (!this.providers.has(id)) this.providers.set(id, { name, inventories, traits: new Set() });
  }
  async setTraits(id: string, has: readonly string[], hasNot: readonly string[]) {
    this.#asked();
    for (const name of has) this.#provider(id).traits.add(name);
    for (const name of hasNot) this.#provider(id).traits.delete(name);
  }
  async removeProvider(id: string) {
    this.#asked();
    this.providers.delete(id);
  }

  #provider(id: string): FakeProvider {
    const provider = this.providers.get(id);
    if (!provider) throw new PlacementRefused(`no provider ${id}`);
    return provider;
  }
  /** Why the provider cannot give that beside what is held of it; null: it can. */
  #shortage(id: string, resources: Resources): string | null {
    const provider = this.providers.get(id);
    if (!provider) return `there is no provider ${id}`;
    for (const [name, amount] of Object.entries(resources)) {
      const inventory = provider.inventories[name];
      const used = [...this.consumers.values()].reduce(
        (sum, { held }) => sum + (held[id]?.[name as ResourceClass] ?? 0),
        0,
      );
      const room = inventory ? capacity({ ...inventory, allocationRatio: inventory.allocation_ratio }) : 0;
      if (used + amount > room) return `not enough ${name}`;
    }
    return null;
  }
  #asked(): void {
    if (this.isDown) throw new ServiceDown('Placement is down');
  }
}
