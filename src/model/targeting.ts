// V26: which hosts a move must not go to.
//
// Theory of operation. A cold migration to the host where the server already is would do nothing, so it is never
// allowed; a resize may stay on its host only where the operator says so (Nova's allow_resize_to_same_host). What was
// tried in vain is left out too, so that each alternate is tried once.
import type { MigrationType } from './types.ts';

/** Names of hosts that the scheduler must leave out. */
export function ignoredHosts(
  type: MigrationType,
  sourceHost: string,
  allowResizeToSameHost: boolean,
  tried: readonly string[],
): readonly string[] {
  const mayStay = type === 'resize' && allowResizeToSameHost;
  return mayStay ? [...tried] : [sourceHost, ...tried.filter((host) => host !== sourceHost)];
}
