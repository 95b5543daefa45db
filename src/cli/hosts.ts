// `crosscell hosts`: an operator's hands on hosts, through the API and with its rights. Exit statuses as in moves.ts.
import type { Left } from '../control/host-removal.ts';
import type { LostStorage } from '../control/volumes/storage-removal.ts';
import { ApiClient, sentenceOf } from './client.ts';
import { credentialsOf } from './clouds.ts';

export interface HostsOptions {
  readonly data?: string;
  readonly cloud: string;
  readonly json: boolean;
  /** It is a storage host, whatever else has its name. */
  readonly storage?: boolean;
}

/** Forgets a host that will never return. */
export async function forgetCommand(name: string, options: HostsOptions): Promise<number> {
  const api = new ApiClient(credentialsOf(options.data, options.cloud, process.env));
  try {
    await api.login();
    const url = `/crosscell/v1/hosts/${encodeURIComponent(name)}${options.storage ? '?storage=true' : ''}`;
    const answer = await api.call<{ writtenOff: Left & LostStorage }>('DELETE', url);
    const { debts, quarantined, volumes, snapshots } = answer.writtenOff;
    process.stdout.write(
      options.json
        ? `${JSON.stringify(answer, null, 2)}\n`
        : `${name} is forgotten; written off: clean-ups ${debts}, guests in quarantine ${quarantined}, volumes ${volumes}, snapshots ${snapshots}\n`,
    );
    return 0;
  } catch (error) {
    process.stderr.write(`crosscell: ${sentenceOf(error)}\n`);
    return 1;
  }
}
