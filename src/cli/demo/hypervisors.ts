// The hypervisors of the demo's hosts: links to QEMU in a directory of the demo's, which scene 4 breaks and mends.
//
// A broken one is a program that says why it fails and ends (on simulated hosts: a file that cannot be run). Each change
// is one rename, so that an agent always finds the one or the other.
import { rename, symlink, writeFile } from 'node:fs/promises';
import { findTool } from '../../../guest/run.ts';
import { HOSTS, hypervisorPath } from './plan.ts';

export const BROKEN = 'this hypervisor has been broken by the demo';

export class Hypervisors {
  readonly #directory: string;
  readonly #kind: 'qemu' | 'simulated';

  constructor(directory: string, kind: 'qemu' | 'simulated') {
    this.#directory = directory;
    this.#kind = kind;
  }

  async install(): Promise<void> {
    await this.mend(HOSTS.map((host) => host.name));
  }

  async mend(hosts: readonly string[]): Promise<void> {
    for (const host of hosts) {
      await this.#replace(host, async (path) => {
        if (this.#kind === 'qemu') await symlink(await findTool('qemu-system-x86_64', 'qemu-system-x86'), path);
        else await writeFile(path, '', { mode: 0o755 });
      });
    }
  }

  async break(hosts: readonly string[]): Promise<void> {
    for (const host of hosts) {
      await this.#replace(host, (path) =>
        writeFile(path, `#!/bin/sh\necho '${BROKEN}' >&2\nexit 1\n`, { mode: this.#kind === 'qemu' ? 0o755 : 0o644 }),
      );
    }
  }

  async #replace(host: string, make: (path: string) => Promise<void>): Promise<void> {
    const path = hypervisorPath(this.#directory, host);
    await make(`${path}.new`);
    await rename(`${path}.new`, path);
  }
}
