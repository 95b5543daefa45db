// `crosscell policy list|check`: the rules as a policy file and the defaults make them, without a running system. Exit
// status of check: 0: allowed; 1: not; 2: wrong usage or a wrong file.
import { DEFAULT_POLICIES, readRules } from '../control/policies.ts';
import { explain, type Verdict } from '../model/policy/judge.ts';
import { renderCheck } from '../model/policy/language.ts';
import {
  type Asking,
  countingRoles,
  decide,
  defaultRules,
  ownTarget,
  POLICY_SERVICES,
  type PolicyService,
  type Rules,
  scopesOf,
} from '../model/policy/rules.ts';

export interface PolicyOptions {
  readonly rule?: string;
  readonly roles?: string;
  /** Absent: some project, unless the token is the system's or a domain's. Empty: none. */
  readonly project?: string;
  readonly system: boolean;
  readonly domain?: string;
  readonly user: string;
  readonly targetProject?: string;
  readonly targetUser?: string;
  readonly target?: readonly string[];
  readonly policyFile?: string;
  readonly json: boolean;
}

const SOME_PROJECT = 'p1';

const wrongUsage = (sentence: string): number => {
  process.stderr.write(`crosscell: ${sentence}\n`);
  return 2;
};
const print = (text: string): void => void process.stdout.write(`${text}\n`);

function rulesFrom(file: string | undefined): Rules | string {
  if (file === undefined) return DEFAULT_POLICIES.rules();
  const read = readRules(file);
  if (read.kind === 'bad') return read.complaint;
  for (const warning of read.rules.warnings) process.stderr.write(`crosscell: warning: ${warning}\n`);
  return read.rules;
}

export function policyCommand(verb: 'list' | 'check', options: PolicyOptions): number {
  const rules = rulesFrom(options.policyFile);
  if (typeof rules === 'string') return wrongUsage(rules);
  return verb === 'list' ? list(rules, options.json) : check(rules, options);
}

function list(rules: Rules, json: boolean): number {
  const defaults = new Map(defaultRules().map(({ service, name, check }) => [`${service} ${name}`, check]));
  const all = POLICY_SERVICES.flatMap((service) =>
    [...rules.byService[service]].map(([name, check]) => {
      const said = renderCheck(check);
      const usual = defaults.get(`${service} ${name}`);
      return { service, name, check: said, scopes: scopesOf(service), ...(usual === undefined ? { own: true } : {}) };
    }),
  );
  if (json) print(JSON.stringify(all, null, 2));
  else for (const each of all) print(`${each.service}  ${each.name}: "${each.check}"`);
  return 0;
}

function check(rules: Rules, options: PolicyOptions): number {
  const { rule, roles } = options;
  if (rule === undefined || roles === undefined) return wrongUsage('policy check needs --rule and --roles');
  const services = POLICY_SERVICES.filter((service) => rules.byService[service].has(rule));
  if (services.length === 0) return wrongUsage(`there is no rule '${rule}' (see crosscell policy list)`);
  const words = (options.target ?? []).map((word) => word.split('='));
  if (words.some((word) => word.length < 2)) return wrongUsage('--target takes word=value');
  const scopes = [options.project !== undefined, options.system, options.domain !== undefined].filter(Boolean);
  if (scopes.length > 1) return wrongUsage('a token has one scope: --project, --system or --domain');
  const projectId = options.project ?? (scopes.length === 1 ? '' : SOME_PROJECT);
  // With what a token brings, as the API takes it.
  const asking = (service: PolicyService): Asking => ({
    ...{ userId: options.user, projectId, roles: countingRoles(service, projectId, rolesOf(roles)) },
    ...(options.system ? { systemScope: true } : {}),
    ...(options.domain === undefined ? {} : { domainId: options.domain }),
  });
  const of = { userId: options.targetUser ?? options.user, projectId: options.targetProject ?? projectId };
  const target = {
    ...ownTarget({ ...of, roles: [] }),
    ...Object.fromEntries(words.map(([word = '', ...value]) => [word, value.join('=')])),
  };
  const verdicts = services.map((service) => [service, decide(rules, service, rule, asking(service), target)] as const);
  if (options.json)
    print(
      JSON.stringify(
        verdicts.map(([service, each]) => ({ service, ...plain(each) })),
        null,
        2,
      ),
    );
  else for (const [service, verdict] of verdicts) print(explained(service, rule, verdict));
  return verdicts.every(([, { holds }]) => holds) ? 0 : 1;
}

const rolesOf = (text: string): string[] =>
  text
    .split(',')
    .map((role) => role.trim())
    .filter((role) => role !== '');

const explained = (service: PolicyService, rule: string, verdict: Verdict): string =>
  [`${service}: ${rule}: ${verdict.holds ? 'allowed' : 'not allowed'}`, ...explain(verdict, renderCheck, 1)].join('\n');

const plain = ({ check, holds, parts }: Verdict): object => ({
  check: renderCheck(check),
  holds,
  parts: parts.map(plain),
});
