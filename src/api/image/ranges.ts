// The part of a file that a request asks for: one range of bytes (RFC 9110, section 14.2).

export interface Range {
  /** Of its first and last byte. */
  readonly first: number;
  readonly last: number;
}

/**
 * `all`: no range is asked for, or several, or in words that are not understood: then all is sent, as the RFC has it.
 * `none`: the range begins behind the end.
 */
export function rangeOf(header: string | undefined, size: number): Range | 'all' | 'none' {
  const [, from = '', to = ''] = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/.exec(header?.trim() ?? '') ?? [];
  if (from === '' && to === '') return 'all';
  // The last so many bytes.
  if (from === '') return to === '0' ? 'none' : { first: Math.max(0, size - Number(to)), last: size - 1 };
  const first = Number(from);
  const last = to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (to !== '' && Number(to) < first) return 'all';
  return first < size ? { first, last } : 'none';
}
