// What is asked for with a login, and what comes of it.
import type { TokenInfo } from '../identity.ts';
import type { Selector } from './directory.ts';

export type LoginMethod =
  | { readonly kind: 'password'; readonly user: Selector; readonly password: string }
  | { readonly kind: 'token'; readonly token: string }
  /** By its id, or by its name and whose it is. */
  | {
      readonly kind: 'application_credential';
      readonly credential: { readonly id: string } | { readonly name: string; readonly user: Selector };
      readonly secret: string;
    };

export interface LoginRequest {
  readonly by: LoginMethod;
  /** `default`: the user's default project, if there is one with a role for them; the application credential's project. */
  readonly scope:
    | { readonly kind: 'project'; readonly project: Selector }
    | { readonly kind: 'domain'; readonly domain: Selector }
    | { readonly kind: 'system' }
    | { readonly kind: 'default' }
    | { readonly kind: 'unscoped' };
  /** Where the request comes from, for counting failures; null: not known, as behind a proxy that does not tell. */
  readonly address: string | null;
}

export type LoginResult =
  | { readonly kind: 'ok'; readonly token: string; readonly info: TokenInfo }
  /** Never says which part was wrong. */
  | { readonly kind: 'denied' }
  | SlowDown;
export interface SlowDown {
  readonly kind: 'slow-down';
  readonly retryAfterSeconds: number;
}
