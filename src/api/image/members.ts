// Members of shared images. Source: glance/api/v2/image_members.py.
import type { Static } from 'typebox';
import {
  addMember,
  answerMember,
  listMembers,
  type MemberResult,
  removeMember,
  showMember,
} from '../../control/images/members.ts';
import { isoSeconds } from '../../model/time.ts';
import { ApiError, refuse } from '../http/errors.ts';
import { type Answer, type Route, route } from '../http/route.ts';
import { Member, MemberBody, MemberList, MemberParams, MemberStatusBody, Params } from './schemas.ts';

const MEMBERS = '/image/v2/images/:id/members';
const service = 'image' as const;

const render = ({ imageId, id, member }: Extract<MemberResult, { kind: 'ok' }>): Static<typeof Member> => ({
  ...{ image_id: imageId, member_id: id, status: member.status, schema: '/v2/schemas/member' },
  ...{ created_at: isoSeconds(member.createdAt), updated_at: isoSeconds(member.updatedAt) },
});

function shown(result: MemberResult): Answer {
  if (result.kind === 'refused') throw new ApiError(result.refusal.code, result.refusal.message);
  return { status: 200, body: render(result) };
}

export const memberRoutes: readonly Route[] = [
  route({
    ...{ method: 'POST', url: MEMBERS, service, summary: 'Share an image with a project', policy: 'add_member' },
    params: Params,
    body: MemberBody,
    answers: { 200: Member },
    handle: async ({ p, actor, params, body }) => shown(await addMember(p, actor, params.id, body.member)),
  }),
  route({
    ...{ method: 'GET', url: MEMBERS, service, summary: 'List whom an image is shared with', policy: 'get_members' },
    params: Params,
    answers: { 200: MemberList },
    handle: async ({ p, actor, params }) => {
      const list = await listMembers(p, actor, params.id);
      if (list.kind === 'refused') throw new ApiError(list.refusal.code, list.refusal.message);
      return { status: 200, body: { members: list.members.map(render), schema: '/v2/schemas/members' } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${MEMBERS}/:key`, service, summary: 'Show one member', policy: 'get_member' },
    params: MemberParams,
    answers: { 200: Member },
    handle: async ({ p, actor, params }) => shown(await showMember(p, actor, params.id, params.key)),
  }),
  route({
    ...{ method: 'PUT', url: `${MEMBERS}/:key`, service, summary: 'Take a shared image, or not' },
    policy: 'modify_member',
    params: MemberParams,
    body: MemberStatusBody,
    answers: { 200: Member },
    handle: async ({ p, actor, params, body }) =>
      shown(await answerMember(p, actor, params.id, params.key, body.status)),
  }),
  route({
    ...{ method: 'DELETE', url: `${MEMBERS}/:key`, service, summary: 'Take an image back from a project' },
    policy: 'delete_member',
    params: MemberParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      refuse(await removeMember(p, actor, params.id, params.key));
      return { status: 204 };
    },
  }),
];
