// What the actions on a server share: how one is written down (its rule, its schema, what it does), and what they answer.
import { type Static, type TSchema, Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import type { Refusal } from '../../model/refusal.ts';
import type { Actor, Server } from '../../model/types.ts';
import { refuse } from '../http/errors.ts';
import type { Answer } from '../http/route.ts';
import { nullable, object } from './common.ts';

export interface ActionCall {
  readonly p: Platform;
  readonly actor: Actor;
  readonly server: Server;
  readonly minor: number;
}

export interface Action {
  readonly rule: RuleName;
  /** The schema of the action's value at a microversion; null: the action is not there. */
  readonly schema: (minor: number) => TSchema | null;
  readonly run: (call: ActionCall, value: never) => Promise<Answer>;
  /** What it answers; absent: nothing. */
  readonly answer?: TSchema;
}

/** Actions by the key that names them in the body. */
export type Actions = Readonly<Record<string, Action>>;

export function action<S extends TSchema>(
  rule: RuleName,
  schema: S | ((minor: number) => S | null),
  run: (call: ActionCall, value: Static<S>) => Promise<Answer>,
  answer?: TSchema,
): Action {
  const schemaFor = typeof schema === 'function' ? schema : () => schema;
  return { rule, schema: schemaFor, run: run as Action['run'], ...(answer ? { answer } : {}) };
}

/** 202 unless the use case refuses. */
export const accepted = async (refusal: Promise<Refusal | null>, status = 202): Promise<Answer> => {
  refuse(await refusal);
  return { status };
};

/** The server as a rule sees it. */
export const targetOf = ({ projectId, userId }: Server): Target => ({ project_id: projectId, user_id: userId });

/** Actions without parameters: clients send null, some an empty object. */
export const Nothing = nullable(object({}));

/** A password for the guest, as Nova takes it. */
export const AdminPass = Type.String({ maxLength: 255 });
