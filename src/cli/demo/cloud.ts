// The system as its users reach it: the HTTP API, and nothing else.
//
// Reading calls are repeated while nobody answers, because the demo kills the control plane on purpose; calls that
// change something are not.
import { systemClock } from '../../lib/clock.ts';
import { type ApiClient, ApiFailure } from '../client.ts';
import type { DemoFlavor } from './plan.ts';

const COMPUTE = '/compute/v2.1';
/** The last microversion in which hypervisors tell their usage. */
const USAGE_VERSION = '2.87';
const SILENCE_LIMIT_MS = 60_000;
const SILENCE_PAUSE_MS = 100;

export interface ServerView {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly flavor: {
    readonly original_name: string;
    readonly vcpus: number;
    /** MiB. */
    readonly ram: number;
    /** GiB. */
    readonly disk: number;
  };
  readonly 'OS-EXT-SRV-ATTR:host': string | null;
  readonly 'OS-EXT-STS:task_state': string | null;
  readonly fault?: { readonly message: string };
}

export interface StepView {
  readonly step: string;
  readonly direction: 'do' | 'undo';
  readonly outcome: 'done' | 'failed' | 'running';
  readonly durationMs: number;
  readonly attempts: number;
  readonly note: string | null;
}

export interface MoveView {
  readonly id: string;
  readonly move: string;
  readonly serverId: string;
  readonly requestId: string;
  readonly status: 'active' | 'done' | 'unwound' | 'stuck';
  readonly step: string | null;
  readonly reason: string | null;
  readonly migrationId: string | null;
  readonly source: { readonly host: string } | null;
  readonly target: { readonly host: string } | null;
  readonly progress: { readonly doneBytes: number; readonly totalBytes: number } | null;
  readonly copiedBytes: number | null;
  readonly sha256: string | null;
  readonly steps: readonly StepView[];
  readonly createdAt: number;
  readonly endedAt: number | null;
}

export interface Usage {
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
}

interface Hypervisor {
  readonly hypervisor_hostname: string;
  readonly vcpus_used: number;
  readonly memory_mb_used: number;
  readonly local_gb_used: number;
}

/** The control plane is not there, or does not answer any more. */
export class NotServed extends Error {
  override readonly name = 'NotServed';
}

export class Cloud {
  readonly #api: ApiClient;
  readonly #signal: AbortSignal;
  readonly #isServed: () => boolean;

  /** `isServed`: whether the control plane's process is there; nobody is waited for when it is not. */
  constructor(api: ApiClient, signal: AbortSignal, isServed: () => boolean) {
    this.#api = api;
    this.#signal = signal;
    this.#isServed = isServed;
  }

  async createFlavor({ id, name, vcpus, memoryMb, diskGb, hardware }: DemoFlavor): Promise<void> {
    const flavor = { id, name, vcpus, ram: memoryMb, disk: diskGb };
    await this.#api.call('POST', `${COMPUTE}/flavors`, { flavor });
    await this.#api.call('POST', `${COMPUTE}/flavors/${id}/os-extra_specs`, {
      extra_specs: { 'aggregate_instance_extra_specs:hardware': hardware },
    });
  }

  async createAggregate(
    name: string,
    metadata: Readonly<Record<string, string>>,
    hosts: readonly string[],
  ): Promise<void> {
    const path = `${COMPUTE}/os-aggregates`;
    const { aggregate } = await this.#api.call<{ aggregate: { id: number } }>('POST', path, { aggregate: { name } });
    const act = (body: object) => this.#api.call('POST', `${path}/${aggregate.id}/action`, body);
    await act({ set_metadata: { metadata } });
    for (const host of hosts) await act({ add_host: { host } });
  }

  async uploadImage(name: string, format: 'qcow2' | 'raw', file: string): Promise<string> {
    const { id } = await this.#api.call<{ id: string }>('POST', '/image/v2/images', {
      ...{ name, disk_format: format, container_format: 'bare', visibility: 'public' },
    });
    await this.#api.upload(id, file);
    return id;
  }

  async createServer(name: string, imageRef: string, flavorRef: string): Promise<string> {
    const body = { server: { name, imageRef, flavorRef, networks: 'auto' } };
    const { server } = await this.#api.call<{ server: { id: string } }>('POST', `${COMPUTE}/servers`, body);
    return server.id;
  }

  async server(id: string): Promise<ServerView> {
    return (await this.#read<{ server: ServerView }>(`${COMPUTE}/servers/${id}`)).server;
  }

  /** Null when the API knows no such server. */
  async serverIfThere(id: string): Promise<ServerView | null> {
    try {
      return await this.server(id);
    } catch (error) {
      if (error instanceof ApiFailure && error.status === 404) return null;
      throw error;
    }
  }

  /** The servers that the API shows on this host, of all projects. */
  async serversOn(host: string): Promise<ServerView[]> {
    const path = `${COMPUTE}/servers/detail?all_tenants=1&host=${host}`;
    return (await this.#read<{ servers: ServerView[] }>(path)).servers;
  }

  async deleteServer(id: string): Promise<void> {
    await this.#api.call('DELETE', `${COMPUTE}/servers/${id}`);
  }

  async act(id: string, action: string, value: object | null = null): Promise<void> {
    await this.#api.call('POST', `${COMPUTE}/servers/${id}/action`, { [action]: value });
  }

  /** The last lines of the guest's serial console. */
  async console(id: string, length: number): Promise<string> {
    const path = `${COMPUTE}/servers/${id}/action`;
    const body = { 'os-getConsoleOutput': { length } };
    return (await this.#patiently(() => this.#api.call<{ output: string }>('POST', path, body))).output;
  }

  /** Status of the server's migrations, newest first. */
  async migrationStatuses(serverId: string): Promise<string[]> {
    const path = `${COMPUTE}/os-migrations?instance_uuid=${serverId}`;
    return (await this.#read<{ migrations: { status: string }[] }>(path)).migrations.map((each) => each.status);
  }

  async usage(): Promise<Map<string, Usage>> {
    const path = `${COMPUTE}/os-hypervisors/detail`;
    const { hypervisors } = await this.#read<{ hypervisors: Hypervisor[] }>(path, USAGE_VERSION);
    return new Map(
      hypervisors.map((each) => [
        each.hypervisor_hostname,
        { vcpus: each.vcpus_used, memoryMb: each.memory_mb_used, diskGb: each.local_gb_used },
      ]),
    );
  }

  /** What has been done and is being done with the server, newest first. */
  async moves(serverId: string): Promise<MoveView[]> {
    return (await this.#read<{ moves: MoveView[] }>(`/crosscell/v1/moves?server_id=${serverId}`)).moves;
  }

  async move(id: string): Promise<MoveView> {
    return (await this.#read<{ move: MoveView }>(`/crosscell/v1/moves/${id}`)).move;
  }

  #read<T>(path: string, microversion?: string): Promise<T> {
    return this.#patiently(() => this.#api.call<T>('GET', path, undefined, microversion));
  }

  async #patiently<T>(call: () => Promise<T>): Promise<T> {
    const giveUp = systemClock.now() + SILENCE_LIMIT_MS;
    for (;;) {
      try {
        return await call();
      } catch (error) {
        // An answer, whatever it says, ends the patience; only a connection that fails is tried again.
        const silent = error instanceof TypeError;
        if (!silent || this.#signal.aborted) throw error;
        if (!this.#isServed()) throw new NotServed('the control plane has died');
        if (systemClock.now() > giveUp) throw new NotServed(`the control plane does not answer: ${error.message}`);
        await systemClock.sleep(SILENCE_PAUSE_MS, this.#signal);
      }
    }
  }
}
