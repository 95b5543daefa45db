// The password that a guest has chosen for itself and left with the metadata service. There is no such service, so no guest
// leaves one: it is empty, and forgetting it changes nothing.
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, object, serverFor, text } from './common.ts';

const URL = `${BASE}/servers/:id/os-server-password`;

export const serverPasswordRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: URL,
    service: 'compute',
    summary: "Show a server's password, which is always empty",
    policy: 'os_compute_api:os-server-password:show',
    params: IdParams,
    answers: { 200: object({ password: text() }) },
    handle: async ({ p, actor, params }) => {
      await serverFor(p, actor, params.id);
      return { status: 200, body: { password: '' } };
    },
  }),
  route({
    method: 'DELETE',
    url: URL,
    service: 'compute',
    summary: "Forget a server's password",
    policy: 'os_compute_api:os-server-password:clear',
    params: IdParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      await serverFor(p, actor, params.id);
      return { status: 204 };
    },
  }),
];
