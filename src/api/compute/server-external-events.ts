// What other services tell compute of a server: its network or a volume has changed.
//
// Network and volumes are looked at whenever a guest is started or moved, so little has to be done now; the answer says of
// each event, as Nova's, whether there is a server with a host that it could concern. Addresses that a network service
// elsewhere has changed are put on record. A volume that was extended is written into the server's history.
import { type TSchema, Type } from 'typebox';
import { networkService } from '../../control/network/service.ts';
import type { Platform } from '../../control/platform.ts';
import { noteAction } from '../../control/server-marks.ts';
import { findServer } from '../../control/servers.ts';
import type { Actor } from '../../model/types.ts';
import { type Route, route, versions } from '../http/route.ts';
import { BASE, object } from './common.ts';

const FIRST = ['network-changed', 'network-vif-plugged', 'network-vif-unplugged', 'network-vif-deleted'] as const;
/** Names by the microversion that brought them (nova/api/openstack/compute/schemas/server_external_events.py). */
const LATER = [
  [51, 'volume-extended'],
  [76, 'power-update'],
  [82, 'accelerator-request-bound'],
  [93, 'volume-reimaged'],
] as const;
const NEED_TAG: readonly string[] = ['volume-extended', 'power-update', 'accelerator-request-bound'];
const MAX_EVENTS = 100;

const eventOf = <S extends TSchema>(name: S) =>
  object({
    name,
    server_uuid: Type.String({ format: 'uuid' }),
    status: Type.Optional(Type.Enum(['failed', 'completed', 'in-progress'])),
    tag: Type.Optional(Type.String({ maxLength: 255 })),
  });
const bodyOf = (names: readonly string[]) =>
  object({ events: Type.Array(eventOf(Type.Enum([...names])), { minItems: 1, maxItems: MAX_EVENTS }) });
const Body = versions(
  [1, bodyOf(FIRST)],
  ...LATER.map(
    ([from], index) => [from, bodyOf([...FIRST, ...LATER.slice(0, index + 1).map(([, name]) => name)])] as const,
  ),
);
const Answer = object({
  events: Type.Array(object({ ...eventOf(Type.String()).properties, code: Type.Integer() })),
});

interface Event {
  readonly name: string;
  readonly server_uuid: string;
  readonly tag?: string;
}

export const serverExternalEventRoutes: readonly Route[] = [
  route({
    method: 'POST',
    url: `${BASE}/os-server-external-events`,
    service: 'compute',
    summary: 'Tell compute that the network or a volume of servers has changed',
    policy: 'os_compute_api:os-server-external-events:create',
    body: Body,
    answers: { 200: Answer, 207: Answer },
    handle: async ({ p, actor, body }) => {
      const events: object[] = [];
      let status = 200;
      for (const event of body.events as readonly Event[]) {
        const code = await take(p, actor, event);
        if (code !== 200) status = 207;
        events.push({ ...event, status: code === 200 ? 'completed' : 'failed', code });
      }
      return { status, body: { events } };
    },
  }),
];

/** The code that Nova gives this event. A server whose cell is down is there as little as one that never was. */
async function take(p: Platform, actor: Actor, event: Event): Promise<200 | 400 | 404 | 422> {
  const found = await findServer(p, event.server_uuid.toLowerCase());
  if (found.kind !== 'found') return 404;
  if (NEED_TAG.includes(event.name) && event.tag === undefined) return 400;
  if (found.server.host === null) return 422;
  if (event.name === 'network-changed') await networkService(p).look(p, found.server.id);
  if (event.name === 'volume-extended') {
    const cell = await p.stores.cell(found.cellId);
    await cell.transaction().execute((trx) => noteAction(trx, actor, found.server.id, 'extend_volume', p.clock.now()));
  }
  return 200;
}
