// Tables of identity in the global database: who there is, who may do what where, and which tokens were revoked before
// their time. Small tables, read through a cache (control/identity/cache.ts) that the row in `revisions` keeps honest:
// whoever writes one of these tables adds one to it in the same transaction.

export interface IdentityTables {
  domains: { id: string; name: string; description: string; enabled: number; created_at: number };
  projects: {
    id: string;
    domain_id: string;
    /** A project of the same domain; null: directly under the domain. */
    parent_id: string | null;
    name: string;
    description: string;
    enabled: number;
    tags_json: string;
    created_at: number;
  };
  users: {
    id: string;
    domain_id: string;
    name: string;
    description: string | null;
    email: string | null;
    default_project_id: string | null;
    /** Attribute `project_id`, which means nothing, as somebody gave it. */
    project_id: string | null;
    enabled: number;
    /** scrypt; null: cannot log in with a password. */
    password_hash: string | null;
    password_at: number | null;
    /** Hash of the password that the configuration gave last; null: the configuration does not know the user. */
    seeded_hash: string | null;
    options_json: string;
    /** Grows when all tokens of the user end: a token counts only with the number that it was issued under. */
    token_epoch: number;
    created_at: number;
  };
  roles: { id: string; name: string; description: string | null; created_at: number };
  user_groups: { id: string; domain_id: string; name: string; description: string | null; created_at: number };
  group_members: { group_id: string; user_id: string };
  /**
   * A user's or a group's, never both. scope: project, domain or system; scope_id: of the project or domain, empty for
   * the system.
   */
  role_assignments: {
    user_id: string | null;
    group_id: string | null;
    scope: string;
    scope_id: string;
    role_id: string;
  };
  application_credentials: {
    id: string;
    user_id: string;
    project_id: string;
    name: string;
    description: string | null;
    secret_hash: string;
    /** 1: its tokens may make and delete application credentials. */
    unrestricted: number;
    expires_at: number | null;
    /** Microseconds of the expiry behind its milliseconds: it is shown as it was asked for. */
    expires_micros: number;
    /** Ids of roles; it is worth nothing once its user has lost one of them. */
    roles_json: string;
    created_at: number;
  };
  revoked_tokens: { audit_id: string; expires_at: number };
  /** Numbers that grow with every change of what they are named after (name 'identity'). */
  revisions: { name: string; value: number };
}
