// Errors come in two kinds. Operating errors are expected: they are values (discriminated unions) or typed classes
// that a caller handles where it says so. Broken invariants are defects: they throw InvariantError and nobody handles
// them short of the process boundary.

/** A broken invariant: a defect of this program, never the fault of its input. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Throws InvariantError unless `condition` holds. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** The end of an exhaustive match: unreachable as long as every case is handled. */
export function assertNever(value: never): never {
  throw new InvariantError(`unhandled case: ${JSON.stringify(value)}`);
}

/** The message of whatever was thrown, for logs and recorded reasons. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
