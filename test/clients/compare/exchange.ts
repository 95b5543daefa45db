// How a walk through an API is written down: requests in their order, with `{name}` for what an earlier answer said.
import type { Asked, ServiceType } from './cloud.ts';

export type Step = Exchange | Wait;

export interface Exchange {
  readonly kind: 'exchange';
  readonly asked: Asked;
  /** Names for values of the answer, by path: `{ server: 'server.id' }`. A name that is given again counts anew. */
  readonly keep: Readonly<Record<string, string>>;
  /** Why we answer otherwise than the peer, in one sentence that docs/compatibility.md says too; null: we do not. */
  readonly defended: string | null;
}

/** Until what is at `path` of the answer is one of these; an answer of 404 is `gone`. */
export interface Wait {
  readonly kind: 'wait';
  readonly asked: Asked;
  readonly path: string;
  readonly until: readonly string[];
  /** What a peer is asked anew when its server has come to rest elsewhere, because what was begun has failed there. */
  readonly anew: readonly Exchange[];
}

export interface Extras {
  readonly body?: unknown;
  readonly version?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly keep?: Readonly<Record<string, string>>;
  readonly defended?: string;
}

/** What asks one service. */
export const asking =
  (service: ServiceType) =>
  (method: Asked['method'], path: string, { keep = {}, defended, ...extras }: Extras = {}): Exchange => ({
    kind: 'exchange',
    asked: { service, method, path, ...extras },
    keep,
    defended: defended ?? null,
  });

export const waiting =
  (service: ServiceType) =>
  (url: string, path: string, ...until: readonly string[]): Wait => ({
    kind: 'wait',
    asked: { service, method: 'GET', path: url },
    path,
    until,
    anew: [],
  });

/** The exchanges, and the wait for what comes of them; a peer that fails at it does `before` and them once more. */
export const settled = (exchanges: readonly Exchange[], wait: Wait, before: readonly Exchange[] = []): Step[] => [
  ...exchanges,
  { ...wait, anew: [...before, ...exchanges] },
];

/** The value at a path such as `servers.0.id`; undefined: there is none. */
export function valueAt(json: unknown, path: string): unknown {
  let at = json;
  for (const key of path.split('.')) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<string, unknown>)[key];
  }
  return at;
}

/** The request with its names replaced. @throws Error on a name that no answer gave */
export function filled(asked: Asked, names: ReadonlyMap<string, string>): Asked {
  const fill = (text: string): string =>
    text.replaceAll(/\{([a-z][a-zA-Z0-9]*)\}/g, (_, name: string) => {
      const value = names.get(name);
      if (value === undefined) throw new Error(`no answer gave {${name}}`);
      return value;
    });
  return {
    ...asked,
    path: fill(asked.path),
    ...(asked.body === undefined ? {} : { body: JSON.parse(fill(JSON.stringify(asked.body))) }),
    ...(asked.headers === undefined
      ? {}
      : { headers: Object.fromEntries(Object.entries(asked.headers).map(([key, value]) => [key, fill(value)])) }),
  };
}
