// Consoles of servers: the URL of a page or a websocket, with a token that opens it for a short while (console/).
//
// Screens are VNC (type novnc), serial lines plain bytes; the other protocols that OpenStack knows are refused with the
// words that a Nova says whose operator has switched them off (nova/api/openstack/compute/remote_consoles.py).
import { Type } from 'typebox';
import { admittedConsole, agentOf, createConsoleToken } from '../../control/consoles.ts';
import type { Platform } from '../../control/platform.ts';
import { type ConsoleKind, consolePath } from '../../host/consoles.ts';
import type { Server } from '../../model/types.ts';
import { consoleUrl } from '../console/urls.ts';
import { badRequest, errorOf, notFound } from '../http/errors.ts';
import { type Route, route, versions } from '../http/route.ts';
import { BASE, IdParams, object, serverFor, text } from './common.ts';
import { type Action, type Actions, action } from './server-action.ts';

const PROTOCOLS = ['vnc', 'spice', 'serial', 'rdp'] as const;
const TYPES = ['novnc', 'xvpvnc', 'spice-html5', 'serial', 'rdp-html5'] as const;
const CreateFrom6 = object({
  remote_console: object({ protocol: Type.Enum([...PROTOCOLS]), type: Type.Enum([...TYPES]) }),
});
const CreateFrom8 = object({
  remote_console: object({ protocol: Type.Enum([...PROTOCOLS, 'mks']), type: Type.Enum([...TYPES, 'webmks']) }),
});
const Url = Type.String({ maxLength: 4096 });
const Created = object({ remote_console: object({ protocol: text(), type: text(), url: Url }) });
const Shown = object({ console: object({ type: text(), url: Url }) });

/** The one type of each protocol that there is here. */
const KINDS: Readonly<Record<string, { readonly kind: ConsoleKind; readonly type: string }>> = {
  vnc: { kind: 'vnc', type: 'novnc' },
  serial: { kind: 'serial', type: 'serial' },
};

/** The console's URL. @throws ApiError 400 for what is not offered, 409 when no guest runs */
async function urlFor(p: Platform, server: Server, protocol: string, type: string): Promise<string> {
  const offered = KINDS[protocol];
  if (offered === undefined) throw badRequest(`Unavailable console type ${protocol === 'rdp' ? protocol : type}.`);
  if (offered.type !== type) throw badRequest(`Invalid console type ${type}`);
  const made = await createConsoleToken(p, server, offered.kind);
  if (made.kind === 'refused') throw errorOf(made.refusal);
  return consoleUrl(p.settings.publicUrl, offered.kind, made.token);
}

/** An action of before 2.6. */
function oldAction(protocol: string, types: readonly string[]): Action {
  const schema = object({ type: Type.Enum([...types]) });
  return action(
    'os_compute_api:os-remote-consoles',
    (minor) => (minor < 6 ? schema : null),
    async ({ p, server }, { type }) => ({
      status: 200,
      body: { console: { type, url: await urlFor(p, server, protocol, type) } },
    }),
    Shown,
  );
}

export const consoleActions: Actions = {
  'os-getVNCConsole': oldAction('vnc', ['novnc', 'xvpvnc']),
  'os-getSPICEConsole': oldAction('spice', ['spice-html5']),
  'os-getRDPConsole': oldAction('rdp', ['rdp-html5']),
  'os-getSerialConsole': oldAction('serial', ['serial']),
};

export const remoteConsoleRoutes: readonly Route[] = [
  route({
    method: 'POST',
    url: `${BASE}/servers/:id/remote-consoles`,
    service: 'compute',
    summary: 'Make a URL that opens a console of the server for ten minutes',
    policy: 'os_compute_api:os-remote-consoles',
    since: 6,
    params: IdParams,
    body: versions([6, CreateFrom6], [8, CreateFrom8]),
    answers: { 200: Created },
    handle: async ({ p, actor, params, body }) => {
      const { server } = await serverFor(p, actor, params.id);
      const { protocol, type } = body.remote_console;
      const url = await urlFor(p, server, protocol, type);
      return { status: 200, body: { remote_console: { protocol, type, url } } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-console-auth-tokens/:token`,
    service: 'compute',
    summary: 'Show where a console is that a token opens: its agent, and the path there',
    policy: 'os_compute_api:os-console-auth-tokens',
    params: object({ token: text(1024) }),
    answers: {
      200: object({
        console: object({ instance_uuid: text(), host: text(), port: Type.Integer(), internal_access_path: text() }),
      }),
    },
    handle: async ({ p, params, minor }) => {
      // Before 2.31 only for a type that is not offered.
      if (minor < 31) throw badRequest('The requested console type details are not accessible');
      const admitted = await admittedConsole(p, params.token);
      const agent = admitted && (await agentOf(p, admitted.host));
      if (!admitted || !agent) throw notFound('Token not found');
      const { serverId, request } = admitted;
      const console = { instance_uuid: serverId, ...agent, internal_access_path: consolePath(serverId, request) };
      return { status: 200, body: { console } };
    },
  }),
];
