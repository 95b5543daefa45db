// One OpenStack deployment as a client sees it: a token, the catalog's addresses, and raw answers.
//
// Nothing is retried and nothing is judged here: what a service says is what is compared.

/** What an exchange asks for. Paths are below the service's address, with the version and the project where it has them. */
export interface Asked {
  readonly service: ServiceType;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';
  readonly path: string;
  readonly body?: unknown;
  readonly version?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Undefined: no JSON. */
  readonly json: unknown;
}

const SERVICE_TYPES = ['identity', 'compute', 'image', 'network', 'volumev3'] as const;
export type ServiceType = (typeof SERVICE_TYPES)[number];

/** What a service's address in the catalog lacks of the paths that are asked for. */
const PREFIXES: Readonly<Record<ServiceType, string>> = {
  identity: '/v3',
  compute: '',
  image: '/v2',
  network: '/v2.0',
  volumev3: '',
};
const LIMIT_MS = 120_000;

export interface Cloud {
  readonly projectId: string;
  readonly userId: string;
  ask(asked: Asked): Promise<Answer>;
}

/** Logs in at an identity service's address that ends with `/v3`. @throws Error when that or the catalog does not serve */
export async function openCloud(authUrl: string, user: string, password: string, project: string): Promise<Cloud> {
  const domain = { id: 'default' };
  const answer = await send(`${authUrl}/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      auth: {
        identity: { methods: ['password'], password: { user: { name: user, domain, password } } },
        scope: { project: { name: project, domain } },
      },
    }),
  });
  const token = answer.headers.get('x-subject-token');
  if (answer.status !== 201 || token === null) throw new Error(`${authUrl} answers a login with ${answer.status}`);
  const known = (answer.json as { token: Token }).token;
  const addresses = new Map(SERVICE_TYPES.map((type) => [type, addressOf(known, type)]));
  return {
    projectId: known.project.id,
    userId: known.user.id,
    ask: ({ service, method, path, body, version, headers = {} }) =>
      send(`${addresses.get(service)}${path}`, {
        method,
        headers: {
          'x-auth-token': token,
          ...(version === undefined ? {} : versionHeaders(service, version)),
          ...(body === undefined || headers['content-type'] !== undefined
            ? {}
            : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
  };
}

interface Token {
  readonly project: { readonly id: string };
  readonly user: { readonly id: string };
  readonly catalog: ReadonlyArray<{
    readonly type: string;
    readonly endpoints: ReadonlyArray<{ readonly interface: string; readonly url: string }>;
  }>;
}

function addressOf({ catalog }: Token, type: ServiceType): string {
  const endpoints = catalog.find((entry) => entry.type === type)?.endpoints;
  const url = endpoints?.find((endpoint) => endpoint.interface === 'public')?.url.replace(/\/+$/, '');
  if (url === undefined) throw new Error(`the catalog has no ${type}`);
  const prefix = PREFIXES[type];
  return url.endsWith(prefix) ? url : `${url}${prefix}`;
}

function versionHeaders(service: ServiceType, version: string): Record<string, string> {
  if (service === 'volumev3') return { 'openstack-api-version': `volume ${version}` };
  return { 'openstack-api-version': `compute ${version}`, 'x-openstack-nova-api-version': version };
}

async function send(url: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(url, { ...init, redirect: 'manual', signal: AbortSignal.timeout(LIMIT_MS) });
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, headers: response.headers, text, json };
}
