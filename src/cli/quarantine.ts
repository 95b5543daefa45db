// `crosscell quarantine`: guests that nobody owns, and files without a record, through the API and with its rights. Exit
// status 0: done; 1: the API refused, and its sentence says why; 2: wrong usage.
import type { Quarantined } from '../control/quarantine.ts';
import { ApiClient, sentenceOf } from './client.ts';
import { credentialsOf } from './clouds.ts';

export interface QuarantineOptions {
  readonly data?: string;
  readonly cloud: string;
  readonly json: boolean;
}

const URL = '/crosscell/v1/quarantine';

export async function quarantineCommand(
  verb: string,
  id: string | undefined,
  options: QuarantineOptions,
): Promise<number> {
  if ((verb === 'list') !== (id === undefined)) {
    const wrong = verb === 'list' ? 'quarantine list takes no id' : `quarantine ${verb} needs the id that list shows`;
    process.stderr.write(`crosscell: ${wrong}\n`);
    return 2;
  }
  const api = new ApiClient(credentialsOf(options.data, options.cloud, process.env));
  try {
    await api.login();
    if (id === undefined) await list(api, options.json);
    else await api.call('POST', `${URL}/${encodeURIComponent(id)}/${verb}`);
    return 0;
  } catch (error) {
    process.stderr.write(`crosscell: ${sentenceOf(error)}\n`);
    return 1;
  }
}

/** Page by page as it comes; JSON: one object per line. */
async function list(api: ApiClient, json: boolean): Promise<void> {
  for (let marker: string | null = ''; marker !== null; ) {
    const query: string = marker === '' ? '' : `?marker=${encodeURIComponent(marker)}`;
    const page: { quarantine: readonly Quarantined[]; next: string | null } = await api.call('GET', `${URL}${query}`);
    for (const each of page.quarantine) process.stdout.write(json ? `${JSON.stringify(each)}\n` : lineOf(each));
    marker = page.next;
  }
}

/** Id, kind, host, server or volume, size (of files without a record), since when, why. */
export function lineOf(each: Quarantined): string {
  const { id, kind, host, serverId, volumeId, bytes, foundAt, wasRunning, reason } = each;
  const size = bytes === null ? [] : [`${Math.ceil(bytes / 2 ** 20)} MiB`];
  const why = `${reason}${wasRunning ? ', it was running' : ''}`;
  return `${[id, kind, host, serverId ?? volumeId, ...size, new Date(foundAt).toISOString(), why].join('  ')}\n`;
}
