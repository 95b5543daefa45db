// Identifiers. Every id that the API hands out is a lower-case UUID with dashes; requests carry `req-` ids.
import { randomUUID } from 'node:crypto';

let draw: () => string = randomUUID;

export const newId = (): string => draw();
export const newRequestId = (): string => `req-${draw()}`;

/**
 * From now on every id of this thread comes from `source`, which gives UUIDs; null: from chance again. For simulations
 * alone, whose ids come from their seed so that a run can be repeated exactly.
 */
export function drawIdsFrom(source: (() => string) | null): void {
  draw = source ?? randomUUID;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** True for the canonical form only: anything else never reaches a path or a query. */
export const isUuid = (text: string): boolean => UUID.test(text);
