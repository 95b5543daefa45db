// Projects as Keystone knows them, asked with the service user's token.
import type { Session } from './session.ts';

export interface KeystoneProjects {
  /** False when Keystone says that there is none; true also when the service user may not know. @throws ServiceDown */
  isThere(id: string): Promise<boolean>;
}

export const projectsOf = (session: Session): KeystoneProjects => ({
  async isThere(id) {
    const path = `/projects/${encodeURIComponent(id)}`;
    const said = await session.ask(null, { service: 'identity', method: 'GET', path });
    return said.kind === 'ok' || said.status !== 404;
  },
});
