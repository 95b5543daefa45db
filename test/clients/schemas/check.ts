// Holds the answers that tests see against Tempest's schemas: what to hand to the API as `onAnswer`.
//
// An answer that Tempest would refuse makes the request fail, and so the test. Refusals (from 400 on) are not compared, as
// Tempest does not, nor what Tempest never asks for.
import { appendFileSync } from 'node:fs';
import type { SeenAnswer } from '../../../src/api/http/app.ts';
import { type Expectations, type ExpectedCall, expectations } from './tempest.ts';

/** A file that the names of the schemas are added to that answers were held against; for report.ts. */
const REPORT = process.env['CROSSCELL_SCHEMA_REPORT'];

interface Beyond {
  /** The method, and the path from the service's name on. */
  readonly request: RegExp;
  readonly when: (seen: SeenAnswer) => boolean;
}

const since =
  (minor: number) =>
  (seen: SeenAnswer): boolean =>
    seen.minor >= minor;
const has =
  (key: string) =>
  ({ body }: SeenAnswer): boolean =>
    typeof body === 'object' && body !== null && key in body;

function hasPartialServer({ body }: SeenAnswer): boolean {
  const { server, servers } = body as { readonly server?: object; readonly servers?: readonly object[] };
  return [server ?? [], servers ?? []].flat().some((each) => !('name' in each));
}

/** Answers that the services give and of which this Tempest knows nothing: changed later, or not asked for by it. */
const BEYOND_TEMPEST: readonly Beyond[] = [
  { request: /^GET compute\/(os-migrations|servers\/[^/]+\/migrations)/, when: since(80) },
  { request: /^GET compute\/servers\/[^/]+\/os-instance-actions$/, when: since(58) },
  { request: /^GET compute\/servers\/[^/]+\/os-instance-actions\//, when: since(84) },
  { request: /^GET compute\/os-hypervisors/, when: since(88) },
  { request: /compute\/servers\/[^/]+\/os-volume_attachments/, when: since(89) },
  // The pinned zone of a server.
  { request: /compute\/servers(\/detail|\/[^/]+|\/[^/]+\/action)?$/, when: since(96) },
  // What is known of a server whose cell is down.
  { request: /^GET compute\/servers(\/detail|\/[^/]+)?$/, when: hasPartialServer },
  // return_reservation_id
  { request: /^POST compute\/servers$/, when: has('reservation_id') },
  // Some of the events were of no use.
  { request: /^POST compute\/os-server-external-events$/, when: ({ status }) => status === 207 },
  // Events of volumes, of power and of accelerators; Tempest knows those of networks.
  { request: /^POST compute\/os-server-external-events$/, when: since(51) },
  { request: /^GET compute\/os-migrations$/, when: has('migrations_links') },
  // Of a project without servers.
  {
    request: /^GET compute\/os-simple-tenant-usage\/[^/]+$/,
    when: ({ body }) => Object.keys((body as { tenant_usage: object }).tenant_usage).length === 0,
  },
  // A changed volume names its cluster, as any other.
  { request: /^PUT volume\/volumes\/[^/]+$/, when: since(61) },
  // Snapshots name the snapshot of their group.
  { request: /^GET volume\/snapshots/, when: since(14) },
  // A page with another behind it.
  { request: /^GET volume\/(os-volume-transfer|volume-transfers)/, when: has('transfers_links') },
  // with_count
  { request: /^GET volume\/(volumes|snapshots|volume-transfers)(\/detail)?$/, when: has('count') },
];

/** `{ onAnswer }` where Tempest is installed, else `{}`. */
export async function tempestCheck(): Promise<{ onAnswer?: (seen: SeenAnswer) => void }> {
  const expected = await expectations();
  if (expected === null) return {};
  const reported = new Set<string>();
  return {
    onAnswer(seen) {
      const held = hold(expected, seen);
      if (held.kind === 'wrong') {
        const complaint = `Tempest refuses ${seen.method} ${seen.url} at ${seen.minor}: ${held.reason}`;
        // The client is told nothing of it: whoever reads the failed test is.
        process.stderr.write(`${complaint}\n`);
        throw new Error(complaint);
      }
      if (held.kind === 'nothing' || REPORT === undefined || reported.has(held.schema)) return;
      reported.add(held.schema);
      appendFileSync(REPORT, `${held.schema}\n`);
    },
  };
}

export type Held =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'right'; readonly schema: string }
  | { readonly kind: 'wrong'; readonly reason: string };

export function hold(expected: Expectations, seen: SeenAnswer): Held {
  const candidates = seen.status < 400 ? expectedFor(expected.calls, seen) : [];
  const reasons: string[] = [];
  for (const schema of new Set(candidates.map((call) => call.schema))) {
    const reason = expected.mismatch(schema, seen.status, asSent(seen.body));
    if (reason === null) return { kind: 'right', schema };
    reasons.push(reason);
  }
  return reasons.length === 0 ? { kind: 'nothing' } : { kind: 'wrong', reason: reasons.join('; or ') };
}

/** What the client sees: undefined is dropped, dates are text. */
const asSent = (body: unknown): unknown => (body === undefined ? undefined : JSON.parse(JSON.stringify(body)));

/** The requests of Tempest's that are like this one; of several shapes of path the one that says most. */
function expectedFor(calls: readonly ExpectedCall[], seen: SeenAnswer): readonly ExpectedCall[] {
  const [service, ...segments] = pathOf(seen.url);
  const request = `${seen.method} ${[service, ...segments].join('/')}`;
  if (BEYOND_TEMPEST.some((each) => each.request.test(request) && each.when(seen))) return [];
  const action = segments.at(-1) === 'action' ? (Object.keys(seen.request ?? {})[0] ?? null) : null;
  const alike = calls.filter(
    (call) =>
      call.service === service &&
      call.method === seen.method &&
      call.action === action &&
      seen.minor >= call.from &&
      seen.minor <= (call.to ?? seen.minor) &&
      call.path.length === segments.length &&
      call.path.every((segment, index) => segment === null || segment === segments[index]),
  );
  const literal = (call: ExpectedCall): number => call.path.filter((segment) => segment !== null).length;
  const most = Math.max(...alike.map(literal));
  return alike.filter((call) => literal(call) === most);
}

/** The service, and the segments behind its base. */
function pathOf(url: string): string[] {
  const segments = (url.split('?')[0] ?? '').split('/').filter((each) => each !== '');
  const [service = '', base] = segments;
  return base === 'v2.1' || base === 'v3' ? [service, ...segments.slice(2)] : ['', ...segments];
}
