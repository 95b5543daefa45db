// A reader of the project's own Markdown, as far as the tests of the documentation need it: tables, fenced blocks,
// links and headings. It knows the Markdown that is written here, not all that there is.
import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '..', '..');

export interface Table {
  /** The nearest heading above. */
  readonly heading: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Fence {
  /** What stands behind the backticks, such as `yaml`. */
  readonly info: string;
  readonly text: string;
  readonly line: number;
}

/** Paths of all pages, relative to the project. */
export async function pages(): Promise<string[]> {
  const found: string[] = [];
  for await (const path of glob(['*.md', 'docs/**/*.md'], { cwd: ROOT })) found.push(path);
  return found.sort();
}

export const read = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

/** The text with fenced blocks emptied, line for line. */
export function prose(text: string): string {
  let inside = false;
  return text
    .split('\n')
    .map((line) => {
      if (line.startsWith('```')) {
        inside = !inside;
        return '';
      }
      return inside ? '' : line;
    })
    .join('\n');
}

export function tables(text: string): Table[] {
  const found: Table[] = [];
  let heading = '';
  let rows: string[][] = [];
  const close = (): void => {
    const [header, , ...body] = rows;
    if (header) found.push({ heading, header, rows: body });
    rows = [];
  };
  for (const line of prose(text).split('\n')) {
    if (line.startsWith('|')) rows.push(cells(line));
    else close();
    if (line.startsWith('#')) heading = line.replace(/^#+ /, '');
  }
  close();
  return found;
}

/** The one table under a heading of this text. */
export function tableUnder(text: string, heading: string): Table {
  const [table, ...more] = tables(text).filter((each) => each.heading === heading);
  if (!table || more.length > 0) throw new Error(`there must be one table under '${heading}'`);
  return table;
}

const cells = (line: string): string[] =>
  line
    .replace(/^\|/, '')
    .replace(/\|\s*$/, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'));

export function fences(text: string): Fence[] {
  const found: Fence[] = [];
  let open: { info: string; line: number; lines: string[] } | null = null;
  for (const [index, line] of text.split('\n').entries()) {
    if (line.startsWith('```') && open) {
      found.push({ info: open.info, text: `${open.lines.join('\n')}\n`, line: open.line });
      open = null;
    } else if (line.startsWith('```')) open = { info: line.slice(3).trim(), line: index + 1, lines: [] };
    else open?.lines.push(line);
  }
  return found;
}

/** Targets of links and images. */
export const links = (text: string): string[] =>
  [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');

/** What a forge makes of the headings. */
export const anchors = (text: string): string[] =>
  [...prose(text).matchAll(/^#+ (.*)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replace(/[^\p{Letter}\p{Number} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** A cell's text without its marks. */
export const plain = (cell: string): string => cell.replaceAll('`', '').replaceAll('**', '');
