// What the demo shows to people: headings, lines, tables, and a bar for what takes time.
//
// On a terminal a bar moves; elsewhere it is one line at its beginning and one at its end. One bar at a time. With
// --json nothing is printed: the report says it all.
import cliProgress from 'cli-progress';

export interface Bar {
  update(value: number, note?: string): void;
  /** Ends the bar with a line that stays. */
  done(note: string): void;
}

export interface Printer {
  heading(text: string): void;
  say(text: string): void;
  verdict(held: boolean, text: string): void;
  /** `total`: value at which the bar is full. */
  bar(label: string, total: number): Bar;
  table(rows: readonly (readonly string[])[]): void;
}

const LABEL = 34;
const silentBar: Bar = { update: () => undefined, done: () => undefined };

export const silentPrinter: Printer = {
  heading: () => undefined,
  say: () => undefined,
  verdict: () => undefined,
  bar: () => silentBar,
  table: () => undefined,
};

export function printerTo(stream: NodeJS.WriteStream): Printer {
  const fancy = stream.isTTY === true;
  const paint = (code: string, text: string): string => (fancy ? `\u001b[${code}m${text}\u001b[0m` : text);
  const line = (text: string): void => void stream.write(`${text}\n`);
  return {
    heading: (text) => line(`\n${paint('1', text)}`),
    say: (text) => line(`  ${text}`),
    verdict: (held, text) => line(`  ${held ? paint('32', '✓ held  ') : paint('31', '✗ BROKEN')} ${text}`),
    bar: (label, total) => (fancy ? terminalBar(stream, label, total) : plainBar(line, label)),
    table: (rows) => {
      for (const row of columns(rows)) line(`    ${row}`);
    },
  };
}

function plainBar(line: (text: string) => void, label: string): Bar {
  line(`  ${label} …`);
  return { update: () => undefined, done: (note) => line(`  ${label}: ${note}`) };
}

function terminalBar(stream: NodeJS.WriteStream, label: string, total: number): Bar {
  const bar = new cliProgress.SingleBar({
    stream,
    format: `  ${label.padEnd(LABEL)} [{bar}] {percentage}% {note}`,
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    // Ctrl-C is the demo's own affair: it has a system to stop.
    gracefulExit: false,
  });
  bar.start(total, 0, { note: '' });
  return {
    update: (value, note) => bar.update(Math.min(value, total), { note: note ?? '' }),
    done: (note) => {
      bar.stop();
      stream.write(`  ${label}: ${note}\n`);
    },
  };
}

/** Rows as lines with aligned columns; cells that look like figures stand to the right. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return rows.map((row) =>
    row
      .map((cell, i) =>
        /^[0-9.]+( [A-Za-z%]+)?$/.test(cell) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
export const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
