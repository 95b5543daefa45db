// What an action on a volume is made of.
import { type Static, type TSchema, Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import type { Actor } from '../../model/types.ts';
import type { Volume } from '../../model/volumes.ts';
import { object } from '../compute/common.ts';
import type { Answer } from '../http/route.ts';

export interface ActionCall {
  readonly p: Platform;
  readonly actor: Actor;
  readonly volume: Volume;
  readonly minor: number;
}

export interface Action {
  readonly rule: RuleName;
  readonly schema: TSchema;
  /** Minor of the microversion that brought it. */
  readonly since: number;
  readonly run: (call: ActionCall, value: never) => Promise<Answer>;
}

export const action = <S extends TSchema>(
  rule: RuleName,
  schema: S,
  run: (call: ActionCall, value: Static<S>) => Promise<Answer>,
  since = 0,
): Action => ({ rule, schema, since, run: run as Action['run'] });

export const Nothing = Type.Union([object({}), Type.Null(), Type.Literal('')]);
