// The invariants of the whole system, looked at by the control plane itself: it can ask every host, simulated ones too.
import { Type } from 'typebox';
import { findingsOf, summaryOf } from '../../audit/findings.ts';
import { AuditRuns, type EndedRun } from '../../audit/runs.ts';
import { conflict } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, closed, markerUnknown, orNull, pageQuery, text, time } from './pages.ts';

const URL = `${BASE}/audit`;
const MAX_FINDINGS = 1000;

const UnderWay = Type.Object({ id: text(), repair: Type.Boolean(), startedAt: time() }, closed);
const Counts = Type.Object(
  {
    cells: Type.Integer(),
    hosts: Type.Integer(),
    servers: Type.Integer(),
    guests: Type.Integer(),
    busy: Type.Integer(),
  },
  closed,
);
const Summary = Type.Object(
  {
    verdict: text(),
    takenAt: time(),
    durationMs: Type.Integer(),
    counts: Counts,
    owedCount: Type.Integer(),
    invariants: Type.Array(
      Type.Object({ name: text(), sentence: text(), verdict: text(), breachCount: Type.Integer() }, closed),
    ),
  },
  closed,
);
const Ended = Type.Object(
  {
    id: text(),
    repair: Type.Boolean(),
    startedAt: time(),
    endedAt: time(),
    reason: orNull(text()),
    summary: orNull(Summary),
  },
  closed,
);
const Finding = Type.Object(
  {
    kind: text(),
    invariant: orNull(text()),
    what: text(),
    cause: orNull(text()),
    note: orNull(text()),
    since: orNull(time()),
  },
  closed,
);

export function auditRoutes(runs = new AuditRuns()): readonly Route[] {
  return [
    route({
      method: 'GET',
      url: URL,
      service: 'crosscell',
      summary: 'Show the newest audit that this process has made, its findings in pages',
      policy: 'crosscell:audit',
      query: Type.Object(pageQuery(MAX_FINDINGS), closed),
      answers: {
        200: Type.Object(
          {
            audit: orNull(Ended),
            running: orNull(UnderWay),
            findings: Type.Array(Finding),
            next: orNull(text()),
          },
          closed,
        ),
      },
      handle: ({ query }) => ({
        status: 200,
        body: { running: runs.running, ...findingsPage(runs.ended, query.limit ?? MAX_FINDINGS, query.marker) },
      }),
    }),
    route({
      method: 'POST',
      url: URL,
      service: 'crosscell',
      summary: 'Begin an audit, which may repair what it can prove; 409 while one is under way',
      policy: 'crosscell:audit:create',
      body: Type.Object({ repair: Type.Optional(Type.Boolean()) }, closed),
      answers: { 202: Type.Object({ running: UnderWay }, closed) },
      handle: ({ p, body }) => {
        const running = runs.start(p, body.repair ?? false);
        if (!running) throw conflict('An audit is under way; look for its end, then begin another.');
        return { status: 202, body: { running } };
      },
    }),
  ];
}

/** A marker names the run and the last finding of the page before: the next run has other findings. */
function findingsPage(ended: EndedRun | null, limit: number, marker: string | undefined): object {
  const [run, last] = marker?.split(':') ?? [];
  if (marker !== undefined && (run !== ended?.id || !/^[0-9]{1,9}$/.test(last ?? ''))) {
    throw markerUnknown(marker);
  }
  if (!ended) return { audit: null, findings: [], next: null };
  const { report, ...rest } = ended;
  const findings = report ? findingsOf(report) : [];
  const first = last === undefined ? 0 : Number(last) + 1;
  const end = first + limit;
  return {
    audit: { ...rest, summary: report ? summaryOf(report) : null },
    findings: findings.slice(first, end),
    next: end < findings.length ? `${ended.id}:${end - 1}` : null,
  };
}
