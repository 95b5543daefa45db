// The guest's journal, judged: pure functions over its text.
//
// A journal is numbered lines, each with the SHA-256 of the line before it (its newline included):
//     <n> <unix ms> <cpus> <mem_kb> <64 hex digits>
// Line 1 carries 64 zeros. The chain says that nothing before the last line was changed, lost, doubled or moved.
// It cannot speak for the last line itself: that is what `head` is for, the digest of the last line, which a
// caller keeps from before a move and finds again after it (`isContinuation` does the same on whole journals).
//
// A power cut may leave half a line at the end: it is `torn`, no entry, and no fault. A whole line of another
// form is `malformed`, and breaks the chain there.

import { createHash } from 'node:crypto';

export type JournalEntry = {
  readonly n: number;
  /** Milliseconds since 1970, by the guest's clock. */
  readonly unixMs: number;
  readonly cpus: number;
  /** What the guest's kernel calls MemTotal: somewhat less than the memory of its flavor. */
  readonly memKb: number;
  /** SHA-256 of the line before, in hex. */
  readonly previous: string;
  /** The line itself, without its newline. */
  readonly line: string;
};

export type Journal = {
  readonly entries: readonly JournalEntry[];
  /** What stands after the last newline, when it is not nothing. */
  readonly torn: string | undefined;
  /** The first whole line that is none of the journal's form; entries end before it. */
  readonly malformed: { readonly lineNumber: number; readonly line: string } | undefined;
};

export type ChainVerdict =
  | { readonly ok: true; readonly head: string; readonly count: number }
  | { readonly ok: false; readonly at: number; readonly reason: string };

export type Gap = { readonly gapMs: number; readonly afterN: number };

const ZEROS = '0'.repeat(64);
const FORM = /^([1-9]\d{0,14}) (\d{1,15}) ([1-9]\d{0,5}) ([1-9]\d{0,14}) ([0-9a-f]{64})$/;

/** The clocks of two hosts may differ, and a guest takes its clock from its host at boot. */
export const CLOCK_TOLERANCE_MS = 2_000;

function parseLine(line: string): JournalEntry | undefined {
  const [, n, unixMs, cpus, memKb, previous] = FORM.exec(line) ?? [];
  if (previous === undefined) return undefined;
  return { n: Number(n), unixMs: Number(unixMs), cpus: Number(cpus), memKb: Number(memKb), previous, line };
}

/** Takes the text of a journal apart. Never fails: what is wrong with it stands in the result. */
export function parseJournal(text: string): Journal {
  const lines = text.split('\n');
  const rest = lines.pop() ?? '';
  const torn = rest === '' ? undefined : rest;
  const entries: JournalEntry[] = [];
  for (const line of lines) {
    const entry = parseLine(line);
    if (entry === undefined) return { entries, torn, malformed: { lineNumber: entries.length + 1, line } };
    entries.push(entry);
  }
  return { entries, torn, malformed: undefined };
}

/** The digest that the line after this one must carry. */
export function lineDigest(line: string): string {
  return createHash('sha256').update(`${line}\n`).digest('hex');
}

/**
 * Whether the journal is whole from its first line to its last: numbers from 1 without a gap, every digest right,
 * and the time never going back by more than the tolerance. `at` is the number of the first line that is wrong.
 * The head of an empty journal is 64 zeros.
 */
export function verifyChain(journal: Journal, toleranceMs: number = CLOCK_TOLERANCE_MS): ChainVerdict {
  let head = ZEROS;
  let latestMs = 0;
  for (const [index, entry] of journal.entries.entries()) {
    const at = index + 1;
    if (entry.n !== at) return { ok: false, at, reason: `the number is ${entry.n}, not ${at}` };
    if (entry.previous !== head) return { ok: false, at, reason: 'the digest is not that of the line before' };
    if (entry.unixMs < latestMs - toleranceMs)
      return { ok: false, at, reason: `the time goes back by ${latestMs - entry.unixMs} ms` };
    head = lineDigest(entry.line);
    latestMs = Math.max(latestMs, entry.unixMs);
  }
  if (journal.malformed !== undefined) {
    return { ok: false, at: journal.malformed.lineNumber, reason: "the line has another form than a journal's" };
  }
  return { ok: true, head, count: journal.entries.length };
}

/** Whether `after` is `before` with nothing changed and possibly more at its end. A torn end of `before` does not count. */
export function isContinuation(before: Journal, after: Journal): boolean {
  return (
    before.malformed === undefined && before.entries.every((entry, index) => after.entries[index]?.line === entry.line)
  );
}

/**
 * The longest time between two entries, and the number of the entry before it: how long the guest stood still.
 * Over a boot it is right to 1 s only, because a guest's hardware clock is (see guest/init); else to milliseconds.
 * @param sinceN only gaps after this entry count; default: all
 * @returns undefined when there are no two entries
 */
export function longestGapMs(entries: readonly JournalEntry[], sinceN = 1): Gap | undefined {
  let longest: Gap | undefined;
  for (const [index, entry] of entries.entries()) {
    const before = entries[index - 1];
    if (before === undefined || before.n < sinceN) continue;
    const gapMs = entry.unixMs - before.unixMs;
    if (longest === undefined || gapMs > longest.gapMs) longest = { gapMs, afterN: before.n };
  }
  return longest;
}
