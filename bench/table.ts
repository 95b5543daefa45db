// A figure beside what it is compared with, and how it is printed.

export interface Figure {
  readonly part: string;
  readonly what: string;
  readonly ours: number;
  readonly unit: string;
  /** What it is compared with; null: it stands alone. */
  readonly peer: { readonly name: string; readonly value: number } | null;
  readonly note?: string;
}

/** Ours divided by the peer's; null without a peer. */
const ratioOf = ({ ours, peer }: Figure): number | null =>
  peer === null || peer.value === 0 ? null : ours / peer.value;

export function printTable(figures: readonly Figure[]): void {
  const rows = figures.map((figure) => {
    const ratio = ratioOf(figure);
    return [
      figure.part,
      figure.what,
      `${round(figure.ours)} ${figure.unit}`,
      figure.peer === null ? '' : `${round(figure.peer.value)} ${figure.unit} (${figure.peer.name})`,
      ratio === null ? '' : ratio < 1 ? `1/${round(1 / ratio)}` : `${round(ratio)}×`,
      figure.note ?? '',
    ];
  });
  const header = ['part', 'what', 'ours', 'beside', 'ours/beside', ''];
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of [header, ...rows]) {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}

const round = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) : value.toFixed(4);

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
