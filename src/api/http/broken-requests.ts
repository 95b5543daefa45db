// Requests that are none: what the HTTP parser refuses before there is a path to route. The answer has the shape of the
// service that the request line names, as far as it can be seen, and a request id under which the log has the reason.
// What is not handled: of headers that are too large only the last packet is known, which may not begin with the line.
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyBaseLogger } from 'fastify';
import { newRequestId } from '../../lib/ids.ts';
import { hasComputeId, renderError, serviceOf } from './errors.ts';

/** As Node.js gives it: what is wrong, and the packet in which it is (of which Fastify's type says too little). */
export interface ParseError extends Error {
  readonly code?: string | undefined;
  readonly rawPacket?: unknown;
}

const LONGEST_LINE = 8192;

/** Answers on the bare socket, and ends the connection: nobody knows where the next request would begin. */
export function answerBroken(log: FastifyBaseLogger, error: ParseError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const requestId = newRequestId();
  log.info({ requestId, code: error.code, reason: error.message }, 'a request could not be read');
  if (!socket.writable) {
    socket.destroy(error);
    return;
  }
  const [status, message] = meaningOf(error);
  const line = Buffer.isBuffer(error.rawPacket) ? error.rawPacket.toString('latin1', 0, LONGEST_LINE) : '';
  const service = serviceOf(/^[A-Z]+ (\/[^\s]*)/.exec(line)?.[1] ?? '');
  const body = JSON.stringify(renderError(service, status, message));
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-openstack-request-id: ${requestId}`,
    ...(hasComputeId(service) ? [`x-compute-request-id: ${requestId}`] : []),
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function meaningOf({ code }: ParseError): readonly [status: number, message: string] {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return [431, 'The path and headers of the request are too large.'];
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return [408, 'The request did not arrive in time.'];
    default:
      return [400, 'Malformed request.'];
  }
}
