// What hosts and storage hosts tell of their files, as far as it concerns a slice.
import type { Files, Reply } from '../../host/contract.ts';
import { isUuid } from '../../lib/ids.ts';
import type { FilesView } from '../snapshot.ts';
import { type Slice, within } from './slice.ts';

/** Of a host that does not answer, which is said already. */
export const NO_FILES: FilesView = { unreachable: null, missing: [], strays: [], remains: [] };

export function viewOf(slice: Slice, reply: Reply<Files>, remains: readonly string[]): FilesView {
  const here = remains.filter((id) => within(slice, id));
  if (reply.kind !== 'ok') {
    const unreachable = reply.kind === 'unreachable' ? reply.reason : `it answered '${reply.kind}' about its files`;
    return { ...NO_FILES, unreachable, remains: here };
  }
  const missing = reply.value.missing.filter(({ id }) => within(slice, id));
  // What is named after nothing belongs to the first slice.
  const strays = reply.value.strays.filter((path) => {
    const id = ownerOf(path);
    return id === null ? slice.after === '' : within(slice, id);
  });
  return { unreachable: null, missing, strays, remains: here };
}

/** The id of the guest or volume after which a stray is named; null: none. */
export function ownerOf(path: string): string | null {
  const id = (path.split('/').at(-1) ?? '').split('.')[0] ?? '';
  return isUuid(id) ? id : null;
}
