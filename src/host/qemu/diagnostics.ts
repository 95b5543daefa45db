// What a guest's QEMU has used: from QMP, and from /proc for its threads and its memory.
//
// Theory of operation. Each vCPU is a thread of QEMU's own (query-cpus-fast names it), whose processor time /proc tells.
// Disks are told apart by the ids of their devices. A thread or process that ends meanwhile counts as having used nothing.
import { readFile } from 'node:fs/promises';
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { Clock } from '../../lib/clock.ts';
import type { Diagnostics, GuestSpec } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import { isCode, TICKS_PER_SECOND } from './proc.ts';
import type { QemuProcess } from './process.ts';

const Status = Compile(Type.Object({ status: Type.String() }));
const Cpus = Compile(Type.Array(Type.Object({ 'cpu-index': Type.Integer(), 'thread-id': Type.Integer() })));
const Blocks = Compile(
  Type.Array(
    Type.Object({
      qdev: Type.Optional(Type.String()),
      stats: Type.Object({
        rd_bytes: Type.Integer(),
        rd_operations: Type.Integer(),
        wr_bytes: Type.Integer(),
        wr_operations: Type.Integer(),
        failed_rd_operations: Type.Integer(),
        failed_wr_operations: Type.Integer(),
      }),
    }),
  ),
);

const NS_PER_TICK = 1_000_000_000 / TICKS_PER_SECOND;
const PAGES_PER_MIB = 256;

export async function readDiagnostics(guest: QemuProcess, spec: GuestSpec, clock: Clock): Promise<Diagnostics> {
  const status = await guest.execute('query-status');
  const cpus = await guest.execute('query-cpus-fast');
  const blocks = await guest.execute('query-blockstats');
  if (!Status.Check(status) || !Cpus.Check(cpus) || !Blocks.Check(blocks))
    throw new HypervisorError('QEMU does not tell what the guest uses');
  const { pid } = guest.ref;
  return {
    paused: status.status === 'paused',
    uptimeSeconds: Math.max(0, Math.floor((clock.now() - guest.startedAt) / 1000)),
    cpus: await Promise.all(
      cpus.map(async (cpu) => ({ id: cpu['cpu-index'], timeNs: await threadTime(pid, cpu['thread-id']) })),
    ),
    memoryMb: { maximum: spec.memoryMb, used: await residentMb(pid) },
    disks: blocks.flatMap(({ qdev, stats }) => {
      const name = /^\/machine\/peripheral\/([a-z0-9-]{1,64})(\/|$)/.exec(qdev ?? '')?.[1];
      if (name === undefined) return [];
      return [
        {
          name,
          readBytes: stats.rd_bytes,
          readRequests: stats.rd_operations,
          writeBytes: stats.wr_bytes,
          writeRequests: stats.wr_operations,
          errors: stats.failed_rd_operations + stats.failed_wr_operations,
        },
      ];
    }),
  };
}

/** Nanoseconds, to a hundredth of a second. */
async function threadTime(pid: number, thread: number): Promise<number> {
  const text = await readProc(`/proc/${pid}/task/${thread}/stat`);
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * NS_PER_TICK;
}

async function residentMb(pid: number): Promise<number> {
  const [, resident] = (await readProc(`/proc/${pid}/statm`)).split(' ');
  return Math.round(Number(resident ?? 0) / PAGES_PER_MIB);
}

async function readProc(path: string): Promise<string> {
  try {
    return await readFile(path, 'latin1');
  } catch (error) {
    if (isCode(error, 'ENOENT') || isCode(error, 'ESRCH')) return '';
    throw error;
  }
}
