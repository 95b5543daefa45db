// POST /servers/{id}/action: one key names the action. Each action has its schema here and its use case in moves/ or
// control/; an action that is not in the table does not exist.
import { type TSchema, Type } from 'typebox';
import { consoleOutput } from '../../control/servers.ts';
import { checkAction, stateOf } from '../../model/actions.ts';
import { MAX_MINOR, MIN_MINOR } from '../../model/microversion.ts';
import { checkHostName } from '../../model/names.ts';
import { isAdmin } from '../../model/types.ts';
import { confirmResize } from '../../moves/confirm.ts';
import { deleteServer } from '../../moves/delete.ts';
import { pauseServer, rebootServer, startServer, stopServer, unpauseServer } from '../../moves/power.ts';
import { migrateServer, resizeServer } from '../../moves/resize.ts';
import { revertResize } from '../../moves/revert.ts';
import { restoreServer } from '../../moves/soft-delete.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, errorOf, notFound, refuse } from '../http/errors.ts';
import { byBody, type Route, route, type Variant } from '../http/route.ts';
import { checkBody } from '../http/validation.ts';
import { ADMIN_ACTIONS } from './admin-actions.ts';
import { BASE, IdParams, nullable, object, serverFor } from './common.ts';
import { EVACUATE_ACTIONS } from './evacuate-action.ts';
import { FIXED_IP_ACTIONS } from './fixed-ips.ts';
import { FLOATING_IP_ACTIONS } from './floating-ips.ts';
import { LOCK_ACTIONS } from './lock-actions.ts';
import { REBUILD_ACTIONS } from './rebuild-action.ts';
import { consoleActions } from './remote-consoles.ts';
import { RESCUE_ACTIONS } from './rescue-actions.ts';
import { SECURITY_GROUP_ACTIONS } from './security-groups.ts';
import { type Action, type Actions, accepted, action, Nothing, targetOf } from './server-action.ts';
import { serverImageActions } from './server-images.ts';
import { serverShelveActions } from './server-shelve.ts';
import { SUSPEND_ACTIONS } from './suspend-actions.ts';

const Reboot = object({ type: Type.Enum(['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']) });
const Resize = object({
  flavorRef: Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Type.Integer()]),
  'OS-DCF:diskConfig': Type.Optional(Type.Enum(['AUTO', 'MANUAL'])),
});
const MigrateFrom56 = nullable(
  object({ host: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: 255 }))) }),
);
const Console = object({
  length: Type.Optional(
    Type.Union([Type.Integer({ minimum: -1 }), Type.String({ pattern: '^-?[0-9]+$', maxLength: 20 }), Type.Null()]),
  ),
});
/** More than a host keeps. */
const MOST_LINES = 999_999;

const ACTIONS: Actions = {
  ...serverImageActions,
  ...serverShelveActions,
  'os-start': action('os_compute_api:servers:start', Nothing, ({ p, actor, server }) =>
    accepted(startServer(p, actor, server.id)),
  ),
  'os-stop': action('os_compute_api:servers:stop', Nothing, ({ p, actor, server }) =>
    accepted(stopServer(p, actor, server.id)),
  ),
  pause: action('os_compute_api:os-pause-server:pause', Nothing, ({ p, actor, server }) =>
    accepted(pauseServer(p, actor, server.id)),
  ),
  unpause: action('os_compute_api:os-pause-server:unpause', Nothing, ({ p, actor, server }) =>
    accepted(unpauseServer(p, actor, server.id)),
  ),
  reboot: action('os_compute_api:servers:reboot', Reboot, ({ p, actor, server }, { type }) =>
    accepted(rebootServer(p, actor, server.id, type.toUpperCase() === 'HARD' ? 'HARD' : 'SOFT')),
  ),
  resize: action('os_compute_api:servers:resize', Resize, ({ p, actor, server }, value) => {
    const diskConfig = value['OS-DCF:diskConfig'] as 'AUTO' | 'MANUAL' | undefined;
    const wish = { flavorId: String(value.flavorRef), ...(diskConfig === undefined ? {} : { diskConfig }) };
    return accepted(resizeServer(p, actor, server.id, wish));
  }),
  migrate: action(
    'os_compute_api:os-migrate-server:migrate',
    // Before 2.56 nobody could name a host; anything else in there was passed over and is refused here.
    (minor) => (minor >= 56 ? MigrateFrom56 : Nothing) as typeof MigrateFrom56,
    ({ p, actor, server }, value) => {
      const host = value?.host ?? null;
      if (host !== null) {
        requireRule(p, 'compute', actor, 'os_compute_api:os-migrate-server:migrate:host', targetOf(server));
        refuse(checkHostName(host));
      }
      return accepted(migrateServer(p, actor, server.id, { host }));
    },
  ),
  confirmResize: action('os_compute_api:servers:confirm_resize', Nothing, ({ p, actor, server }) => {
    return accepted(confirmResize(p, actor, server.id), 204);
  }),
  revertResize: action('os_compute_api:servers:revert_resize', Nothing, ({ p, actor, server }) => {
    return accepted(revertResize(p, actor, server.id));
  }),
  restore: action('os_compute_api:os-deferred-delete:restore', Nothing, ({ p, actor, server }) =>
    accepted(restoreServer(p, actor, server.id)),
  ),
  forceDelete: action('os_compute_api:os-deferred-delete:force', Nothing, ({ p, actor, server }) =>
    accepted(deleteServer(p, actor, server.id)),
  ),
  'os-getConsoleOutput': action(
    'os_compute_api:os-console-output',
    Console,
    async ({ p, actor, server }, value) => {
      refuse(checkAction('getConsoleOutput', stateOf(server), isAdmin(actor)));
      const result = await consoleOutput(p, server.id, linesOf(value.length));
      if (result.kind === 'refused') throw errorOf(result.refusal);
      return { status: 200, body: { output: withoutControls(result.output) } };
    },
    object({ output: Type.String() }),
  ),
  ...LOCK_ACTIONS,
  ...SUSPEND_ACTIONS,
  ...REBUILD_ACTIONS,
  ...RESCUE_ACTIONS,
  ...ADMIN_ACTIONS,
  ...EVACUATE_ACTIONS,
  ...consoleActions,
  ...SECURITY_GROUP_ACTIONS,
  ...FLOATING_IP_ACTIONS,
  ...FIXED_IP_ACTIONS,
};

/** What cannot be shown is left out, carriage returns too, as in Nova (console_output.py). */
const withoutControls = (output: string): string =>
  output.replaceAll(/\p{Cc}/gu, (control) => (control === '\n' || control === '\t' ? control : ''));

/** Nova: absent, null and -1 mean all of it. */
function linesOf(length: number | string | null | undefined): number | undefined {
  const lines = Number(length ?? -1);
  if (lines < -1)
    throw badRequest(
      `Invalid input for field/attribute length. Value: ${length}. ${length} is less than the minimum of -1`,
    );
  return lines === -1 ? undefined : Math.min(lines, MOST_LINES);
}

const wrappers = new Map<TSchema, Map<string, TSchema>>();

/** `{"<name>": <value>}`, the same object every time, so that it is compiled once. */
function wrapped(name: string, value: TSchema): TSchema {
  const byName = wrappers.get(value) ?? new Map<string, TSchema>();
  wrappers.set(value, byName);
  const schema = byName.get(name) ?? object({ [name]: value });
  byName.set(name, schema);
  return schema;
}

/** The schemas of an action, each with the microversions in which it is that. */
function variantsOf([name, each]: readonly [string, Action]): Variant[] {
  const found: { action: string; schema: TSchema; from: number; to?: number }[] = [];
  for (let minor = MIN_MINOR; minor <= MAX_MINOR; minor += 1) {
    const value = each.schema(minor);
    const schema = value === null ? null : wrapped(name, value);
    const before = found.at(-1);
    if (before && before.to === undefined && before.schema !== schema) before.to = minor - 1;
    if (schema !== null && before?.schema !== schema) found.push({ action: name, schema, from: minor });
  }
  return found;
}

const variants = Object.entries(ACTIONS).flatMap(variantsOf);

const answers = Object.values(ACTIONS).flatMap(({ answer }) => answer ?? []);

export const serverActionRoutes: readonly Route[] = [
  route({
    method: 'POST',
    url: `${BASE}/servers/:id/action`,
    service: 'compute',
    summary: `Act on a server: ${Object.keys(ACTIONS).join(', ')}`,
    policy: byBody(Object.fromEntries(Object.entries(ACTIONS).map(([name, each]) => [name, each.rule]))),
    params: IdParams,
    body: Type.Object({}, { additionalProperties: true, minProperties: 1 }),
    variants,
    answers: { 200: Type.Union([Type.Null(), ...answers]), 202: Type.Union([Type.Null(), ...answers]), 204: null },
    tells: ['location'],
    handle: async ({ p, actor, params, body, minor }) => {
      const [name, ...others] = Object.keys(body);
      if (name === undefined || others.length > 0)
        throw badRequest('Malformed request body: there must be exactly one action.');
      const wanted = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
      const schema = wanted?.schema(minor) ?? null;
      if (!wanted) throw badRequest(`There is no such action: ${name.slice(0, 100)}`);
      // nova/exception.py: VersionNotFoundForAPIMethod
      if (schema === null) throw notFound('The resource could not be found.');
      const checked = checkBody(wrapped(name, schema), body) as Record<string, unknown>;
      const { server } = await serverFor(p, actor, params.id);
      return wanted.run({ p, actor, server, minor }, checked[name] as never);
    },
  }),
];
