// A listening socket that is handed to a program.
//
// Theory of operation. The socket is opened here, so that its port is known and can be had again, and with TCP_NODELAY,
// which the connections that are accepted from it inherit: QEMU before 8.1 does not set it, and a reply then waits 40 ms
// for the reader's delayed acknowledgement. The program inherits the socket and goes on listening when this process
// ends, so no byte of a guest's ever passes through the agent.
// Node offers no public way to a listening socket's descriptor: the two members used here are checked before use.
import { createServer, type Server } from 'node:net';
import { HypervisorError } from '../../host/hypervisor.ts';

interface ListeningHandle {
  readonly fd: number;
  setNoDelay(on: boolean): number;
}

export interface Listener {
  readonly port: number;
  /** To be given to the child at its spawn, in this turn of the event loop. */
  readonly fd: number;
  /** Lets go of the socket; whoever inherited it goes on. */
  release(): void;
}

/** Listens on this address; `port` null: on any free one. HypervisorError when it cannot be had. */
export async function listenFor(host: string, port: number | null): Promise<Listener> {
  // Whoever is accepted between here and the hand-over comes again: guests reconnect.
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(new HypervisorError(`the volume cannot be served: ${error.message}`)));
    server.listen({ host, port: port ?? 0 }, resolve);
  });
  const address = server.address();
  const handle = handleOf(server);
  if (handle === null || typeof address !== 'object' || address === null) {
    server.close();
    throw new HypervisorError('this runtime does not hand over sockets');
  }
  handle.setNoDelay(true);
  return { port: address.port, fd: handle.fd, release: () => void server.close() };
}

function handleOf(server: Server): ListeningHandle | null {
  const handle: unknown = '_handle' in server ? server._handle : null;
  if (typeof handle !== 'object' || handle === null) return null;
  const usable = 'fd' in handle && typeof handle.fd === 'number' && 'setNoDelay' in handle;
  return usable ? (handle as ListeningHandle) : null;
}
