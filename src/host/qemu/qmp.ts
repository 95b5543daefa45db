// A small client for QEMU's machine protocol (QMP): one JSON object per line, commands with ids, events in between.
//
// Theory of operation. A connection is greeting → capabilities (with out-of-band commands where offered) → commands.
// Every command has an id and a time limit; answers are matched by id, so a late answer to a command that was given up
// is dropped. Events are kept (the last hundred), so that waiting for one that has just come does not miss it.
// QEMU serves one client at a time on its socket: the agent holds at most one connection per guest.
import type { Socket } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import { HypervisorError } from '../hypervisor.ts';

/** QEMU answered with an error, or not at all. */
export class QmpError extends HypervisorError {}

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: QmpError): void;
  readonly timer: NodeJS.Timeout;
}

const LINE_LIMIT = 16 * 1024 * 1024;
const EVENTS_KEPT = 100;
const DEFAULT_TIMEOUT_MS = 5000;

export class Qmp {
  readonly events: QmpEvent[] = [];
  /** Resolves when the connection is over, for whatever reason. */
  readonly closed: Promise<void>;
  isClosed = false;
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #onGreeting: ((capabilities: readonly unknown[]) => void) | null = null;
  #partial = '';
  #lastId = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    // An error is always followed by `close`, which is where it is dealt with.
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#end('the connection to QEMU is closed');
        resolve();
      });
    });
  }

  /** Speaks the greeting on a connected socket; rejects with QmpError when QEMU does not. */
  static async attach(socket: Socket, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<Qmp> {
    const qmp = new Qmp(socket);
    try {
      const capabilities = await qmp.#greeting(timeoutMs);
      const oob = capabilities.includes('oob');
      await qmp.execute('qmp_capabilities', oob ? { enable: ['oob'] } : {}, { timeoutMs });
      return qmp;
    } catch (error) {
      qmp.close();
      throw error;
    }
  }

  /** Runs one command; `oob`: out of band, answered even while the main loop hangs. */
  execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    options: { readonly timeoutMs?: number; readonly oob?: boolean } = {},
  ): Promise<unknown> {
    if (this.isClosed) return Promise.reject(new QmpError('the connection to QEMU is closed'));
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new QmpError(`QEMU did not answer ${command} in time`));
      }, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
      this.#pending.set(id, { resolve, reject, timer });
      const verb = options.oob ? 'exec-oob' : 'execute';
      this.#socket.write(`${JSON.stringify({ [verb]: command, arguments: args, id })}\n`);
    });
  }

  /** The first event of this name that is on record or comes within the limit; null when none does. */
  async waitEvent(name: string, timeoutMs: number): Promise<QmpEvent | null> {
    const known = this.events.find((event) => event.event === name);
    if (known) return known;
    return new Promise((resolve) => {
      const finish = (event: QmpEvent | null) => {
        this.#listeners.delete(listener);
        clearTimeout(timer);
        resolve(event);
      };
      const listener = (event: QmpEvent) => {
        if (event.event === name) finish(event);
      };
      const timer = setTimeout(() => finish(null), timeoutMs);
      this.#listeners.add(listener);
      void this.closed.then(() => finish(null));
    });
  }

  close(): void {
    this.#socket.destroy();
    this.#end('the connection to QEMU was closed');
  }

  #greeting(timeoutMs: number): Promise<readonly unknown[]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new QmpError('QEMU did not greet in time')), timeoutMs);
      this.#onGreeting = (capabilities) => {
        clearTimeout(timer);
        resolve(capabilities);
      };
      void this.closed.then(() => {
        clearTimeout(timer);
        reject(new QmpError('QEMU closed the connection before its greeting'));
      });
    });
  }

  #receive(text: string): void {
    this.#partial += text;
    let end = this.#partial.indexOf('\n');
    while (end >= 0) {
      const line = this.#partial.slice(0, end).trim();
      this.#partial = this.#partial.slice(end + 1);
      if (line !== '') this.#line(line);
      end = this.#partial.indexOf('\n');
    }
    if (this.#partial.length > LINE_LIMIT) this.#broken('a line without end');
  }

  #line(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch (error) {
      this.#broken(messageOf(error));
      return;
    }
    if (!isObject(message)) this.#broken('not an object');
    else if (isObject(message['QMP'])) this.#greeted(message['QMP']);
    else if (typeof message['event'] === 'string') this.#event(message['event'], message['data']);
    else if (typeof message['id'] === 'number') this.#answer(message['id'], message);
    // Anything else (an error without an id) belongs to no command of ours.
  }

  #greeted(greeting: Record<string, unknown>): void {
    const capabilities = greeting['capabilities'];
    this.#onGreeting?.(Array.isArray(capabilities) ? capabilities : []);
  }

  #event(name: string, data: unknown): void {
    const event: QmpEvent = { event: name, data: isObject(data) ? data : {} };
    this.events.push(event);
    if (this.events.length > EVENTS_KEPT) this.events.shift();
    for (const listener of [...this.#listeners]) listener(event);
  }

  #answer(id: number, message: Record<string, unknown>): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    const error = message['error'];
    if (isObject(error)) pending.reject(new QmpError(`${String(error['class'])}: ${String(error['desc'])}`));
    else pending.resolve(message['return']);
  }

  /** Not QMP: nothing after this can be trusted. */
  #broken(why: string): void {
    this.#socket.destroy();
    this.#end(`QEMU does not speak QMP: ${why}`);
  }

  #end(reason: string): void {
    this.isClosed = true;
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(new QmpError(reason));
    }
    this.#pending.clear();
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
