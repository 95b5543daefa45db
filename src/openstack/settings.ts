// What the client of real OpenStack services needs to know: who logs in where, and how patient it is.

/** Services that can be OpenStack's own instead of the embedded ones, by the names of the configuration. */
export const REAL_SERVICES = ['identity', 'image', 'network', 'volume', 'placement'] as const;
export type RealService = (typeof REAL_SERVICES)[number];

export interface OpenstackSettings {
  /** Keystone's version 3, such as http://10.0.0.5:5000/v3; without a trailing slash. */
  readonly authUrl: string;
  /** The service user, its password and its project, with their domains. */
  readonly username: string;
  readonly password: string;
  readonly userDomainName: string;
  readonly projectName: string;
  readonly projectDomainName: string;
  /** Which endpoints of the catalog are used. */
  readonly region: string;
  readonly interface: Interface;
  readonly services: readonly RealService[];
  /** How long one attempt of a request may take. */
  readonly timeoutMs: number;
  /** For how long the judgement of a user's token is believed. */
  readonly tokenCacheMs: number;
}

export const INTERFACES = ['public', 'internal', 'admin'] as const;
export type Interface = (typeof INTERFACES)[number];
