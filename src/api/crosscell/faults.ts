// Arming, listing and deleting faults, for administrators of a system that was started with --allow-faults. On any other
// these paths answer 404, as if they were not there.
import { Type } from 'typebox';
import { FAULT_KINDS, type Faults, MAX_DELAY_MS, MAX_TIMES } from '../../moves/faults.ts';
import { errorOf, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, closed } from './pages.ts';

const URL = `${BASE}/faults`;
const name = () => Type.Optional(Type.String({ minLength: 1, maxLength: 255 }));

const request = {
  kind: Type.Enum([...FAULT_KINDS]),
  saga: name(),
  step: name(),
  phase: Type.Optional(Type.Enum(['do', 'undo'])),
  times: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_TIMES })),
  server: name(),
  delay_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_DELAY_MS })),
  cell: name(),
  host: name(),
};
const Fault = Type.Object(
  { id: Type.String(), ...request, fired: Type.Integer(), armedAt: Type.Integer(), armedBy: Type.String() },
  closed,
);

export function faultRoutes(faults: Faults | null): readonly Route[] {
  const allowed = (): Faults => {
    if (!faults) throw notFound('Faults can only be injected when crosscell up was started with --allow-faults.');
    return faults;
  };
  return [
    route({
      method: 'GET',
      url: URL,
      service: 'crosscell',
      summary: 'List injected faults and how often each has struck (only with --allow-faults, else 404)',
      policy: 'crosscell:faults',
      answers: { 200: Type.Object({ faults: Type.Array(Fault) }, closed) },
      handle: () => ({ status: 200, body: { faults: allowed().list() } }),
    }),
    route({
      method: 'POST',
      url: URL,
      service: 'crosscell',
      summary: 'Inject a fault (only with --allow-faults, else 404)',
      policy: 'crosscell:faults:create',
      body: Type.Object(request, closed),
      answers: { 201: Type.Object({ fault: Fault }, closed) },
      handle: async ({ actor, body }) => {
        const armed = await allowed().arm(actor, body);
        if (armed.kind === 'refused') throw errorOf(armed.refusal);
        return { status: 201, body: { fault: armed.fault } };
      },
    }),
    route({
      method: 'DELETE',
      url: URL,
      service: 'crosscell',
      summary: 'Delete all injected faults (only with --allow-faults, else 404)',
      policy: 'crosscell:faults:delete',
      answers: { 204: null },
      handle: () => {
        allowed().disarm();
        return { status: 204 };
      },
    }),
    route({
      method: 'DELETE',
      url: `${URL}/:id`,
      service: 'crosscell',
      summary: 'Delete an injected fault (only with --allow-faults, else 404)',
      policy: 'crosscell:faults:delete',
      params: Type.Object({ id: Type.String({ maxLength: 255 }) }, closed),
      answers: { 204: null },
      handle: ({ params }) => {
        if (allowed().disarm(params.id) === 0) throw notFound(`Fault ${params.id} could not be found.`);
        return { status: 204 };
      },
    }),
  ];
}
