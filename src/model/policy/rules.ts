// All rules: every service's defaults, and what an operator's file says instead.
//
// Theory of operation. Each service has its own names, as in OpenStack, where each has a policy file; here one file
// serves all. A name in the file changes the rule in every service that has it; a name that no service has is the
// operator's own, may be used by the file's other rules, and is warned of when nothing uses it (a misspelt name, or one
// of a call that is not served here, would otherwise change nothing without a word). A test holds that every default is
// asked somewhere, is used by one that is, or is in UNASKED. Rules that name a rule that is not there, or go round in a
// circle, make the whole file invalid.
import type { Actor } from '../types.ts';
import { COMPUTE_RULES } from './defaults/compute.ts';
import { CROSSCELL_RULES } from './defaults/crosscell.ts';
import { IDENTITY_RULES } from './defaults/identity.ts';
import { IMAGE_RULES } from './defaults/image.ts';
import { NETWORK_RULES } from './defaults/network.ts';
import { VOLUME_RULES } from './defaults/volume.ts';
import type { Credentials, Target, Verdict } from './judge.ts';
import { judge } from './judge.ts';
import { type Check, NEVER, parseCheck, rulesIn } from './language.ts';
import { withImplied } from './roles.ts';

const DEFAULTS = {
  compute: COMPUTE_RULES,
  identity: IDENTITY_RULES,
  image: IMAGE_RULES,
  network: NETWORK_RULES,
  volume: VOLUME_RULES,
  crosscell: CROSSCELL_RULES,
} as const;
export type PolicyService = keyof typeof DEFAULTS;
export const POLICY_SERVICES = Object.keys(DEFAULTS) as PolicyService[];

type NamesOf<R> = R extends unknown ? keyof R : never;
/** Every rule's name that a route or a use case can ask for. */
export type RuleName = NamesOf<(typeof DEFAULTS)[PolicyService]>;

/** oslo.policy's scope_types: Keystone's rules take tokens of every scope, the others those of projects. */
export const scopesOf = (service: PolicyService): readonly string[] =>
  service === 'identity' ? ['system', 'domain', 'project'] : ['project'];

/** The rule that makes an administrator of a service. */
const ADMIN_RULE: Readonly<Record<PolicyService, RuleName>> = {
  compute: 'context_is_admin',
  identity: 'admin_required',
  image: 'context_is_admin',
  network: 'context_is_admin',
  volume: 'context_is_admin',
  crosscell: 'context_is_admin',
};

export interface Rules {
  readonly byService: Readonly<Record<PolicyService, ReadonlyMap<string, Check>>>;
  readonly warnings: readonly string[];
}

export type Compiled =
  | { readonly kind: 'ok'; readonly rules: Rules }
  | { readonly kind: 'bad'; readonly complaints: readonly string[] };

export interface DefaultRule {
  readonly service: PolicyService;
  readonly name: string;
  readonly check: string;
}

/** Every default, service by service. */
export const defaultRules = (): DefaultRule[] =>
  POLICY_SERVICES.flatMap((service) =>
    Object.entries(DEFAULTS[service]).map(([name, check]) => ({ service, name, check })),
  );

/** Words of OpenStack's files, there for an operator's rules to use: no call here asks for them, nor does another default. */
export const UNASKED: ReadonlySet<string> = new Set([
  'admin_or_token_subject',
  'service_admin_or_token_subject',
  'metadef_default',
  'admin_owner_or_network_owner',
  'regular_user',
  'admin_or_ext_parent_owner',
  'ext_parent_owner',
  'admin_owner_or_sg_owner',
  'system_or_domain_or_project_admin',
]);

const PARSED = new Map<string, Check>();
/** Defaults are parsed once, and a mistake in one of them is a defect. */
function parsedDefault(text: string): Check {
  const before = PARSED.get(text);
  if (before) return before;
  const parsed = parseCheck(text);
  if (parsed.kind === 'bad') throw new Error(`a default rule is wrong: ${text}: ${parsed.complaint}`);
  PARSED.set(text, parsed.check);
  return parsed.check;
}

/** The defaults with the file's rules over them. `file`: names and what stands behind them, unchecked. */
export function compileRules(file: ReadonlyMap<string, unknown>): Compiled {
  const own = new Map<string, Check>();
  const complaints: string[] = [];
  for (const [name, value] of file) {
    const parsed = parseCheck(value);
    if (parsed.kind === 'ok') own.set(name, parsed.check);
    else complaints.push(`${name}: ${parsed.complaint}`);
  }
  const known = new Set(defaultRules().map((rule) => rule.name));
  const aliases = [...own.keys()].filter((name) => !known.has(name));
  const byService = Object.fromEntries(
    POLICY_SERVICES.map((service) => [service, rulesOf(service, own, aliases)]),
  ) as Record<PolicyService, Map<string, Check>>;
  // An own name counts where a service's rule leads to it: what it says itself need not be there in every service.
  for (const name of own.keys()) {
    for (const service of POLICY_SERVICES) {
      if (!Object.hasOwn(DEFAULTS[service], name)) continue;
      const wrong = brokenReference(name, byService[service]);
      if (wrong !== null) complaints.push(wrong);
    }
  }
  // Names that no service's rule leads to change nothing, but are no less wrong.
  const sound = new Set<string>();
  for (const name of aliases) {
    const circle = circleFrom(name, own, sound);
    if (circle !== null) complaints.push(circle);
  }
  if (complaints.length > 0) return { kind: 'bad', complaints: [...new Set(complaints)] };
  const used = usedIn(
    own,
    [...own.keys()].filter((name) => known.has(name) && !UNASKED.has(name)),
  );
  const idle = [...own.keys()].filter((name) => (!known.has(name) || UNASKED.has(name)) && !used.has(name));
  const warnings = idle.map((name) => `nothing asks for a rule '${name}'`);
  return { kind: 'ok', rules: { byService, warnings } };
}

/** What the rules of these names lead to among the file's own, by however many steps. */
function usedIn(own: ReadonlyMap<string, Check>, names: readonly string[]): ReadonlySet<string> {
  const used = new Set<string>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const check = own.get(name);
    const found = check === undefined ? [] : rulesIn(check).filter((each) => !used.has(each));
    for (const each of found) used.add(each);
    open.push(...found);
  }
  return used;
}

/** A circle that the file's own rules go in from `name` on; null: none. `sound`: names that lead to none. */
function circleFrom(
  name: string,
  own: ReadonlyMap<string, Check>,
  sound: Set<string>,
  path: readonly string[] = [],
): string | null {
  if (path.includes(name)) return `${path[0]}: goes round in a circle: ${[...path, name].join(' → ')}`;
  const check = own.get(name);
  if (sound.has(name) || check === undefined) return null;
  for (const each of rulesIn(check)) {
    const circle = circleFrom(each, own, sound, [...path, name]);
    if (circle !== null) return circle;
  }
  sound.add(name);
  return null;
}

function rulesOf(
  service: PolicyService,
  own: ReadonlyMap<string, Check>,
  aliases: readonly string[],
): Map<string, Check> {
  const rules = new Map<string, Check>();
  for (const [name, text] of Object.entries(DEFAULTS[service])) rules.set(name, own.get(name) ?? parsedDefault(text));
  for (const name of aliases) rules.set(name, own.get(name) ?? NEVER);
  return rules;
}

/** What is wrong with the rules that `name` leads to; null: nothing. */
function brokenReference(
  name: string,
  rules: ReadonlyMap<string, Check>,
  path: readonly string[] = [],
  sound: Set<string> = new Set(),
): string | null {
  if (path.includes(name)) return `${path[0]}: goes round in a circle: ${[...path, name].join(' → ')}`;
  if (sound.has(name)) return null;
  const check = rules.get(name);
  if (!check) return `${path.at(-1)}: there is no rule '${name}'`;
  for (const each of rulesIn(check)) {
    const wrong = brokenReference(each, rules, [...path, name], sound);
    if (wrong !== null) return wrong;
  }
  sound.add(name);
  return null;
}

/** What is asked about whoever asks. */
export type Asking = Omit<Actor, 'requestId' | 'admin'>;

/**
 * Roles of a token that count with a service. The rules of all but identity are about projects (their scope_types): there,
 * a role of a domain or of the system is good for nothing.
 * @param projectId empty: the token is not a project's
 */
export const countingRoles = (
  service: PolicyService,
  projectId: string,
  roles: readonly string[],
): readonly string[] => (service === 'identity' || projectId !== '' ? roles : []);

function credentialsOf(asking: Asking, admin: boolean): Credentials {
  const scoped = asking.projectId !== '';
  return {
    roles: withImplied(asking.roles),
    words: {
      user_id: asking.userId,
      is_admin: admin ? 'True' : 'False',
      // Keystone says so for every project until one is made the administrators' own.
      is_admin_project: 'True',
      ...(scoped ? { project_id: asking.projectId, tenant_id: asking.projectId } : {}),
      ...(scoped ? { 'token.project.domain.id': asking.projectDomainId ?? 'default' } : {}),
      ...(asking.domainId === undefined ? {} : { domain_id: asking.domainId, 'token.domain.id': asking.domainId }),
      ...(asking.systemScope === true ? { system_scope: 'all' } : {}),
    },
  };
}

/** Whether the service takes the actor for an administrator. */
export function isAdministrator(rules: Rules, service: PolicyService, asking: Asking): boolean {
  const all = rules.byService[service];
  const check = all.get(ADMIN_RULE[service]);
  return (
    check !== undefined && judge(check, { rules: all, credentials: credentialsOf(asking, false), target: {} }).holds
  );
}

/** Whether the rule lets the actor act on the target, and why. */
export function decide(rules: Rules, service: PolicyService, name: string, asking: Asking, target: Target): Verdict {
  const credentials = credentialsOf(asking, isAdministrator(rules, service, asking));
  return judge({ kind: 'rule', name }, { rules: rules.byService[service], credentials, target });
}

/** A target of the actor's own, for what is made new or listed. */
export const ownTarget = ({ userId, projectId }: Asking): Target => ({
  user_id: userId,
  ...(projectId === '' ? {} : { project_id: projectId, tenant_id: projectId, owner: projectId, member_id: projectId }),
});
