// Asking an aggregate's hosts to have images at hand (2.81). It is looked at and answered as by Nova, whose drivers may do it
// or not: hosts here fetch an image when they first need it, and keep it as long as a guest of theirs stands on it.
import { Type } from 'typebox';
import { aggregateNotFound, findAggregate } from '../../control/aggregates.ts';
import { findImage, maySee } from '../../control/images.ts';
import { badRequest, errorOf } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { aggregateNumber } from './aggregates.ts';
import { BASE, IdParams, object } from './common.ts';

const MOST_IMAGES = 100;

export const aggregateImageRoutes: readonly Route[] = [
  route({
    ...{ method: 'POST', url: `${BASE}/os-aggregates/:id/images`, service: 'compute' },
    summary: 'Ask hosts of an aggregate to have images at hand, which they fetch when they need them',
    policy: 'compute:aggregates:images',
    since: 81,
    params: IdParams,
    body: object({
      cache: Type.Array(object({ id: Type.String({ format: 'uuid' }) }), { minItems: 1, maxItems: MOST_IMAGES }),
    }),
    answers: { 202: null },
    handle: async ({ p, actor, params, body }) => {
      const ids = body.cache.map(({ id }) => id.toLowerCase());
      if (new Set(ids).size < ids.length) throw badRequest('Duplicate images in request');
      if (!(await findAggregate(p, aggregateNumber(params.id)))) throw errorOf(aggregateNotFound(params.id));
      for (const id of ids) {
        const image = await findImage(p, id);
        if (!image || !maySee(actor, image)) throw badRequest(`Image ${id} could not be found.`);
      }
      return { status: 202 };
    },
  }),
];
