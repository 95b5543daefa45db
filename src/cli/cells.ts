// `crosscell cells`: an operator's hands on cells, through the API and with its rights. Exit statuses as in moves.ts.
import type { CellRecord } from '../control/cells.ts';
import { ApiClient, sentenceOf } from './client.ts';
import { credentialsOf } from './clouds.ts';

export interface CellsOptions {
  readonly data?: string;
  readonly cloud: string;
  readonly json: boolean;
}

const CELLS = '/crosscell/v1/cells';

export async function cellsCommand(verb: string, name: string | undefined, options: CellsOptions): Promise<number> {
  if ((verb === 'list') !== (name === undefined)) {
    process.stderr.write(
      `crosscell: cells ${verb} ${verb === 'list' ? 'takes no name' : 'needs the name of a cell'}\n`,
    );
    return 2;
  }
  const api = new ApiClient(credentialsOf(options.data, options.cloud, process.env));
  try {
    await api.login();
    const cells = name === undefined ? await allCells(api) : [await setDisabled(api, name, verb === 'disable')];
    process.stdout.write(options.json ? `${JSON.stringify({ cells }, null, 2)}\n` : cellsText(cells));
    return 0;
  } catch (error) {
    process.stderr.write(`crosscell: ${sentenceOf(error)}\n`);
    return 1;
  }
}

async function allCells(api: ApiClient): Promise<CellRecord[]> {
  const all: CellRecord[] = [];
  for (let marker: string | null = ''; marker !== null; ) {
    const query: string = marker === '' ? '' : `?marker=${encodeURIComponent(marker)}`;
    const page = await api.call<{ cells: CellRecord[]; next: string | null }>('GET', `${CELLS}${query}`);
    all.push(...page.cells);
    marker = page.next;
  }
  return all;
}

async function setDisabled(api: ApiClient, name: string, disabled: boolean): Promise<CellRecord> {
  return (await api.call<{ cell: CellRecord }>('PUT', `${CELLS}/${encodeURIComponent(name)}`, { disabled })).cell;
}

/** One line per cell: name, state, hosts, servers. */
function cellsText(cells: readonly CellRecord[]): string {
  const lines = cells.map((cell) => {
    const down = cell.unreachableSince === null ? '' : `, down since ${new Date(cell.unreachableSince).toISOString()}`;
    return `${cell.name}  ${cell.disabled ? 'disabled' : 'enabled'}${down}, ${cell.hosts} hosts, ${cell.servers} servers`;
  });
  return lines.length === 0 ? 'no cells\n' : `${lines.join('\n')}\n`;
}
