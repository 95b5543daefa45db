// What of a real OpenStack stands in for embedded services: one session with it, and what is made of that.
import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { TokenChecker } from '../api/http/auth.ts';
import { createImageMirror, type ImageMirror } from '../control/images/mirror.ts';
import { neutronNetworks } from '../control/network/neutron.ts';
import type { NetworkService } from '../control/network/service.ts';
import { followingPlacement } from '../control/placement/follow.ts';
import type { PlacementService } from '../control/placement/service.ts';
import { cinderVolumes } from '../control/volumes/cinder.ts';
import type { VolumeService } from '../control/volumes/service.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { cinderOf } from '../openstack/cinder.ts';
import { glanceOf } from '../openstack/glance.ts';
import { neutronOf } from '../openstack/neutron.ts';
import { placementOf } from '../openstack/placement.ts';
import { type KeystoneProjects, projectsOf } from '../openstack/projects.ts';
import { createSession } from '../openstack/session.ts';
import { createTokenChecker } from '../openstack/token-checker.ts';
import { ConfigError } from './config.ts';
import type { OpenstackPlan } from './deployment.ts';

export interface Openstack {
  /** Null: tokens are our own. */
  readonly tokens: TokenChecker | null;
  /** Null: projects are our own. */
  readonly projects: KeystoneProjects | null;
  /** Null: images are our own. */
  readonly imageMirror: ImageMirror | null;
  /** Null: networks are our own. */
  readonly network: NetworkService | null;
  /** Null: volumes are our own. */
  readonly volumes: VolumeService | null;
  /** Null: placement is our own. */
  readonly placement: PlacementService | null;
}

/** Null when all services are embedded. Nothing is asked of the services yet. @throws ConfigError */
export async function openOpenstack(plan: OpenstackPlan | null, clock: Clock, log: Logger): Promise<Openstack | null> {
  if (plan === null) return null;
  const settings = { ...plan, password: await passwordIn(plan.passwordFile) };
  const session = createSession({ settings, clock, log });
  const { services, tokenCacheMs } = settings;
  return {
    tokens: services.includes('identity') ? createTokenChecker({ session, clock, cacheMs: tokenCacheMs }) : null,
    projects: services.includes('identity') ? projectsOf(session) : null,
    imageMirror: services.includes('image') ? createImageMirror(glanceOf(session)) : null,
    network: services.includes('network') ? neutronNetworks(neutronOf(session)) : null,
    volumes: services.includes('volume') ? cinderVolumes(cinderOf(session)) : null,
    placement: services.includes('placement') ? followingPlacement(placementOf(session)) : null,
  };
}

async function passwordIn(file: string): Promise<string> {
  try {
    const password = (await readFile(file, 'utf8')).trimEnd();
    if (password !== '') return password;
  } catch (error) {
    throw new ConfigError(`openstack.password_file cannot be read: ${messageOf(error)}`);
  }
  throw new ConfigError(`openstack.password_file: ${file} is empty`);
}
