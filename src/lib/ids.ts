// Identifiers. Every id that the API hands out is a lower-case UUID with dashes; requests carry `req-` ids.
import { randomUUID } from 'node:crypto';

export const newId = (): string => randomUUID();
export const newRequestId = (): string => `req-${randomUUID()}`;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** True for the canonical form only: anything else never reaches a path or a query. */
export const isUuid = (text: string): boolean => UUID.test(text);
