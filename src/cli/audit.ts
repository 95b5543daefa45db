// `crosscell audit`: the invariants, looked at in a live system or one at rest, and repaired where that can be proven.
//
// A control plane that runs is asked to make the audit: it can ask every host, also those that live inside it. Where none
// answers (or with --direct), the databases are read here, and the agents asked. Exit status 0: every invariant holds; 1:
// one is broken, or could not be repaired; 2: something could not be looked at.
import pino from 'pino';
import { type AuditReport, audit, renderReport } from '../audit/audit.ts';
import { type FindingView, reportFrom, type Summary } from '../audit/findings.ts';
import type { EndedRun, RunUnderWay } from '../audit/runs.ts';
import type { Platform } from '../control/platform.ts';
import { DEFAULT_POLICIES } from '../control/policies.ts';
import { connectHost } from '../host/client.ts';
import type { Host } from '../host/contract.ts';
import { nobody } from '../host/nobody.ts';
import { systemClock } from '../lib/clock.ts';
import { reasonOf } from '../lib/reasons.ts';
import { DatabaseClock } from '../store/database-clock.ts';
import { openStores, storesExist } from '../store/stores.ts';
import { ApiClient, ApiFailure } from './client.ts';
import { credentialsOf } from './clouds.ts';
import { ConfigError } from './config.ts';
import type { Deployment } from './deployment.ts';
import { openSecrets } from './secrets.ts';

export interface AuditCommandOptions {
  readonly deployment: Deployment;
  /** The data directory, if it was named; else the clouds.yaml is looked for as OpenStack's clients do. */
  readonly data: string | undefined;
  readonly cloud: string;
  readonly json: boolean;
  readonly repair: boolean;
  /** Ask no control plane. */
  readonly direct: boolean;
}

const POLL_MS = 200;
/** Longest that an audit of the control plane is waited for: one of a very large system takes minutes. */
const LIMIT_MS = 3_600_000;
const URL = '/crosscell/v1/audit';

export async function auditCommand(options: AuditCommandOptions): Promise<number> {
  const api = options.direct ? null : await controlPlane(options);
  const report = api ? await auditThrough(api, options.repair) : await auditDirectly(options);
  if (typeof report === 'string') {
    process.stderr.write(`crosscell: ${report}\n`);
    return 2;
  }
  process.stdout.write(options.json ? `${JSON.stringify(plain(report), null, 2)}\n` : renderReport(report));
  return report.verdict === 'held' ? 0 : report.verdict === 'broken' ? 1 : 2;
}

/** As the API shows it: how a repair would go about it is nobody else's business. */
const plain = (report: AuditReport): AuditReport => ({
  ...report,
  invariants: report.invariants.map((each) => ({
    ...each,
    breaches: each.breaches.map(({ what, cause, repair }) => ({ what, cause, repair })),
  })),
});

/** The control plane that runs, logged in; null when there is none that takes us for its administrator. */
async function controlPlane({ data, cloud }: AuditCommandOptions): Promise<ApiClient | null> {
  try {
    const api = new ApiClient(credentialsOf(data, cloud, process.env));
    await api.login();
    return api;
  } catch (error) {
    // Without a clouds.yaml there was never a control plane to ask.
    if (!(error instanceof ConfigError)) {
      process.stderr.write(`crosscell: no control plane answers (${reasonOf(error)}): reading the databases\n`);
    }
    return null;
  }
}

interface Page {
  readonly audit: (Omit<EndedRun, 'report'> & { readonly summary: Summary | null }) | null;
  readonly running: RunUnderWay | null;
  readonly findings: readonly FindingView[];
  readonly next: string | null;
}

/** The report; a text says why there is none. */
async function auditThrough(api: ApiClient, repair: boolean): Promise<AuditReport | string> {
  const giveUp = Date.now() + LIMIT_MS;
  let wanted: string | null = null;
  while (Date.now() < giveUp) {
    if (wanted === null) wanted = await begin(api, repair);
    const page = await api.call<Page>('GET', URL);
    if (wanted !== null && page.audit?.id === wanted) {
      if (page.audit.summary === null) return page.audit.reason ?? 'the audit failed';
      const findings = await allFindings(api, page);
      if (findings) return reportFrom(page.audit.summary, findings);
      // Somebody else's audit has taken its place meanwhile.
      wanted = null;
    } else if (wanted !== null && page.running?.id !== wanted) {
      wanted = null;
    }
    await systemClock.sleep(POLL_MS);
  }
  return `the control plane has not ended its audit within ${LIMIT_MS / 1000} s`;
}

/** The id of the run that was begun; null while another one is under way. */
async function begin(api: ApiClient, repair: boolean): Promise<string | null> {
  try {
    return (await api.call<{ running: RunUnderWay }>('POST', URL, { repair })).running.id;
  } catch (error) {
    if (error instanceof ApiFailure && error.status === 409) return null;
    throw error;
  }
}

/** Null when another run has ended before all pages were read. */
async function allFindings(api: ApiClient, first: Page): Promise<FindingView[] | null> {
  const findings = [...first.findings];
  for (let { next } = first; next !== null; ) {
    const page = await api.call<Page>('GET', `${URL}?marker=${next}`).catch((error: unknown) => {
      if (error instanceof ApiFailure && error.status === 400) return null;
      throw error;
    });
    if (!page) return null;
    findings.push(...page.findings);
    next = page.next;
  }
  return findings;
}

/** Reads the databases beside whatever runs, and asks the agents. */
async function auditDirectly({ deployment, repair }: AuditCommandOptions): Promise<AuditReport | string> {
  if (deployment.databases.kind === 'sqlite' && !storesExist(deployment.dataDirectory)) {
    return `${deployment.dataDirectory} holds no crosscell data (see --data)`;
  }
  const secrets = await openSecrets(deployment.dataDirectory, null);
  const stores = await openStores(deployment.databases);
  try {
    const rows = await stores.global.selectFrom('hosts').select(['name', 'url']).execute();
    const urls = new Map(rows.map((row) => [row.name, row.url]));
    const platform: Platform = {
      clock:
        deployment.databases.kind === 'postgres' ? await DatabaseClock.of(stores.global, systemClock) : systemClock,
      log: pino({ level: 'silent' }),
      stores,
      settings: { ...deployment.settings, publicUrl: '', hostFacingUrl: 'http://localhost' },
      host: async (name): Promise<Host> => connectHost({ url: urls.get(name) ?? '', secret: secrets.fleet, name }),
      storage: async (name) => nobody(`the storage host ${name} is not asked by the audit`),
      policies: DEFAULT_POLICIES,
      nudge: () => undefined,
    };
    return await audit(platform, { repair });
  } finally {
    await stores.close();
  }
}
