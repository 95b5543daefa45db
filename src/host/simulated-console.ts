// Consoles of a guest that exists in memory alone: a serial line that shows what the guest has printed and echoes what
// is typed, and a screen that is one blank picture, told in RFB 3.8 (RFC 6143) without a password.
import { type Duplex, duplexPair } from 'node:stream';
import { closedTogether } from '../lib/streams.ts';
import type { ConsoleKind } from './consoles.ts';

/** `near` is handed out; destroying `far` ends both. */
export function simulatedConsole(
  kind: ConsoleKind,
  serverId: string,
  output: string,
): { readonly near: Duplex; readonly far: Duplex } {
  const [near, far] = duplexPair();
  void closedTogether(near, far);
  if (kind === 'serial') {
    far.write(output);
    far.pipe(far);
  } else {
    showScreen(far, `simulated (${serverId})`);
  }
  return { near, far };
}

/** The near end of a stream that ends with its guest. @param onGone what is called when that is gone */
export function untilGone(
  onGone: Array<() => void>,
  { near, far }: { readonly near: Duplex; readonly far: Duplex },
): Duplex {
  const end = (): void => void far.destroy();
  onGone.push(end);
  far.once('close', () => {
    if (onGone.includes(end)) onGone.splice(onGone.indexOf(end), 1);
  });
  return near;
}

const WIDTH = 64;
const HEIGHT = 48;
const GREETING = 'RFB 003.008\n';
/** 32 bits per pixel, depth 24, little-endian, true colour, eight bits each of red, green and blue. */
const PIXELS = Buffer.from([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
/** Lengths of a client's messages by their type; null: the message says itself. */
const LENGTHS: Readonly<Record<number, number | null>> = { 0: 20, 2: null, 3: 10, 4: 8, 5: 6, 6: null };

/** Takes part in RFB until it is not understood any more, and then ends. */
function showScreen(socket: Duplex, name: string): void {
  let unread = Buffer.alloc(0);
  let step: 'version' | 'security' | 'init' | 'messages' = 'version';
  socket.write(GREETING);
  socket.on('data', (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    while (!socket.destroyed) {
      const length = step === 'messages' ? messageLength(unread) : step === 'version' ? GREETING.length : 1;
      if (length === 'unknown') return void socket.destroy();
      if (length === 'incomplete' || unread.length < length) return;
      const message = unread.subarray(0, length);
      unread = unread.subarray(length);
      react(message);
    }
  });

  function react(message: Buffer): void {
    switch (step) {
      case 'version':
        step = 'security';
        // One way to log in: none is needed.
        socket.write(Buffer.from([1, 1]));
        return;
      case 'security':
        step = 'init';
        socket.write(Buffer.alloc(4));
        return;
      case 'init':
        step = 'messages';
        socket.write(serverInit(name));
        return;
      case 'messages':
        // A picture that never changes is sent when the whole of it is asked for.
        if (message[0] === 3 && message[1] === 0) socket.write(picture());
        return;
    }
  }
}

function messageLength(unread: Buffer): number | 'incomplete' | 'unknown' {
  const type = unread[0];
  if (type === undefined) return 'incomplete';
  const length = LENGTHS[type];
  if (length === undefined) return 'unknown';
  if (length !== null) return length;
  if (type === 2) return unread.length < 4 ? 'incomplete' : 4 + 4 * unread.readUInt16BE(2);
  return unread.length < 8 ? 'incomplete' : 8 + Math.min(unread.readUInt32BE(4), 65_536);
}

function serverInit(name: string): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(WIDTH, 0);
  head.writeUInt16BE(HEIGHT, 2);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(name));
  return Buffer.concat([head, PIXELS, length, Buffer.from(name)]);
}

/** FramebufferUpdate: one rectangle, raw, of one colour. */
function picture(): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt16BE(1, 2);
  head.writeUInt16BE(WIDTH, 8);
  head.writeUInt16BE(HEIGHT, 10);
  return Buffer.concat([head, Buffer.alloc(WIDTH * HEIGHT * 4, 0x40)]);
}
