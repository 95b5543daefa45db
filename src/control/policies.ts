// The rules in force, and the file they come from.
//
// Theory of operation. The file is looked at again when a rule is asked for and LOOK_MS have passed: no watcher, no
// timer, the same on every file system, and each process of a deployment does so for itself. A file that has changed is
// read and compiled as a whole; when anything in it is wrong (or it is gone) the rules before stay in force, the log
// says what is wrong once per change, and `state` shows it. At the start there are no rules before: then a wrong file
// is refused. A file that is being written while it is read is seen again, for its time or size changes once more.
import { readFileSync, statSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import { parseDocument } from 'yaml';
import { type Clock, systemClock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { Target } from '../model/policy/judge.ts';
import {
  compileRules,
  decide,
  isAdministrator,
  ownTarget,
  type PolicyService,
  type RuleName,
  type Rules,
} from '../model/policy/rules.ts';
import type { Actor } from '../model/types.ts';

const LOOK_MS = 1000;
const MAX_FILE_BYTES = 1024 * 1024;

export interface PolicyState {
  /** Null: there is no file, the defaults are in force. */
  readonly file: string | null;
  readonly warnings: readonly string[];
  /** What is wrong with the file as it is now; the rules in force are then those before it. Null: nothing. */
  readonly refused: string | null;
}

export interface Policies {
  /** Whether the rule lets the actor act; without a target on something of its own. */
  allows(service: PolicyService, rule: RuleName, actor: Actor, target?: Target): boolean;
  isAdministrator(service: PolicyService, actor: Actor): boolean;
  state(): PolicyState;
  /** The rules in force now. */
  rules(): Rules;
}

export type ReadRules =
  | { readonly kind: 'ok'; readonly rules: Rules }
  | { readonly kind: 'bad'; readonly complaint: string };

/** Reads and compiles a file of rules; never throws. */
export function readRules(file: string): ReadRules {
  let text: string;
  try {
    if (statSync(file).size > MAX_FILE_BYTES) return bad(`${file} has more than ${MAX_FILE_BYTES} bytes`);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return bad(`${file} cannot be read: ${messageOf(error)}`);
  }
  return compileText(text, file);
}

const bad = (complaint: string): ReadRules => ({ kind: 'bad', complaint });

/** Compiles the text of a file of rules (YAML, and so JSON too). `file`: its name, for complaints. */
export function compileText(text: string, file: string): ReadRules {
  const document = parseDocument(text, { uniqueKeys: true, merge: false });
  const [broken] = document.errors;
  if (broken) return bad(`${file}: ${broken.message.split('\n')[0]}`);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 }) ?? {};
  } catch (error) {
    return bad(`${file}: ${messageOf(error)}`);
  }
  if (typeof value !== 'object' || Array.isArray(value) || value === null) {
    return bad(`${file}: rules are written as name: check`);
  }
  const compiled = compileRules(new Map(Object.entries(value)));
  return compiled.kind === 'ok' ? compiled : bad(`${file}: ${compiled.complaints.join('; ')}`);
}

/** @throws Error with a sentence for the operator when the file is wrong at the start */
export function openPolicies(file: string | null, log: Logger, clock: Clock): Policies {
  let seen = file === null ? '' : stampOf(file);
  const first = file === null ? defaults() : readRules(file);
  if (first.kind === 'bad') throw new Error(first.complaint);
  let { rules } = first;
  let refused: string | null = null;
  let lookedAt = clock.now();
  warn(rules);

  function warn({ warnings }: Rules): void {
    for (const warning of warnings) log.warn({ file }, `policy: ${warning}`);
  }

  function current(): Rules {
    const now = clock.now();
    if (file === null || (now >= lookedAt && now - lookedAt < LOOK_MS)) return rules;
    lookedAt = now;
    const stamp = stampOf(file);
    if (stamp === seen) return rules;
    seen = stamp;
    const read = readRules(file);
    if (read.kind === 'bad') {
      refused = read.complaint;
      log.error({ file, reason: refused }, 'policy: the changed file is wrong; the rules before it stay in force');
    } else {
      ({ rules } = read);
      refused = null;
      log.info({ file }, 'policy: the changed file is in force');
      warn(rules);
    }
    return rules;
  }

  return {
    allows: (service, rule, actor, target = ownTarget(actor)) => decide(current(), service, rule, actor, target).holds,
    isAdministrator: (service, actor) => isAdministrator(current(), service, actor),
    state: () => ({ file, warnings: current().warnings, refused }),
    rules: current,
  };
}

/** The defaults alone, for where there is no file. */
export const DEFAULT_POLICIES: Policies = openPolicies(null, pino({ level: 'silent' }), systemClock);

function defaults(): ReadRules {
  const compiled = compileRules(new Map());
  return compiled.kind === 'ok' ? compiled : bad(compiled.complaints.join('; '));
}

/** Tells one state of a file from another; a file that is not there has one too. */
function stampOf(file: string): string {
  const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stat ? `${stat.mtimeNs}/${stat.size}/${stat.ino}` : 'absent';
}
