// `crosscell audit`: the invariants, looked at in a live system or one at rest.
//
// Reads the databases beside the running control plane and asks the agents itself. Exit status 0: every invariant
// holds; 1: one is broken; 2: something could not be looked at.
import pino from 'pino';
import { audit, renderReport } from '../audit/audit.ts';
import type { Platform } from '../control/platform.ts';
import { DEFAULT_POLICIES } from '../control/policies.ts';
import { connectHost } from '../host/client.ts';
import type { Host } from '../host/contract.ts';
import { nobody } from '../host/nobody.ts';
import { systemClock } from '../lib/clock.ts';
import { DatabaseClock } from '../store/database-clock.ts';
import { openStores, storesExist } from '../store/stores.ts';
import type { Deployment } from './deployment.ts';
import { openSecrets } from './secrets.ts';

export async function auditCommand(deployment: Deployment, json: boolean): Promise<number> {
  if (deployment.databases.kind === 'sqlite' && !storesExist(deployment.dataDirectory)) {
    process.stderr.write(`crosscell: ${deployment.dataDirectory} holds no crosscell data (see --data)\n`);
    return 2;
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
    const report = await audit(platform);
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report));
    return report.verdict === 'held' ? 0 : report.verdict === 'broken' ? 1 : 2;
  } finally {
    await stores.close();
  }
}
