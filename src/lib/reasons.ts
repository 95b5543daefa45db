// Errors as one sentence for operators, with what caused them: `fetch failed` alone helps nobody.
import { messageOf } from '../lib/errors.ts';

/** The error's message and, when it names a cause, the cause's. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : '';
  // A failed connection attempt to several addresses has an empty message and a code.
  const code = error instanceof Error && error.cause instanceof Error && 'code' in error.cause ? error.cause.code : '';
  const detail = cause === '' ? String(code ?? '') : cause;
  return detail === '' ? messageOf(error) : `${messageOf(error)}: ${detail}`;
}
