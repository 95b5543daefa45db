// What a server's guest has used: in libvirt's own words before 2.48, in Nova's afterwards
// (nova/virt/libvirt/driver.py:get_diagnostics; nova/objects/diagnostics.py). User-mode networking counts nothing, so nothing
// is said of interfaces but their addresses.
import { type TSchema, Type } from 'typebox';
import { diagnosticsOf } from '../../control/diagnostics.ts';
import { portsOfServer } from '../../control/network.ts';
import type { Diagnostics } from '../../host/contract.ts';
import type { Server } from '../../model/types.ts';
import { errorOf } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, nullable, object, serverFor, text } from './common.ts';

const Count = nullable(Type.Integer());
const counts = (...keys: readonly string[]): Record<string, TSchema> =>
  Object.fromEntries(keys.map((key) => [key, Count]));

const FreeForm = Type.Record(Type.String({ maxLength: 128 }), Type.Integer());
const From48 = object({
  state: text(),
  driver: text(),
  hypervisor: nullable(text()),
  hypervisor_os: nullable(text()),
  uptime: Count,
  config_drive: Type.Boolean(),
  num_cpus: Type.Integer(),
  num_nics: Type.Integer(),
  num_disks: Type.Integer(),
  memory_details: object(counts('maximum', 'used')),
  cpu_details: Type.Array(object(counts('id', 'time', 'utilisation'))),
  nic_details: Type.Array(
    object({
      mac_address: nullable(text()),
      ...counts('rx_octets', 'rx_errors', 'rx_drop', 'rx_packets', 'rx_rate'),
      ...counts('tx_octets', 'tx_errors', 'tx_drop', 'tx_packets', 'tx_rate'),
    }),
  ),
  disk_details: Type.Array(
    object(counts('read_bytes', 'read_requests', 'write_bytes', 'write_requests', 'errors_count')),
  ),
});

export const serverDiagnosticsRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/servers/:id/diagnostics`,
    service: 'compute',
    summary: "What a server's guest has used since it was started",
    policy: 'os_compute_api:os-server-diagnostics',
    params: IdParams,
    answers: { 200: Type.Union([From48, FreeForm]) },
    handle: async ({ p, actor, params, minor }) => {
      const { server } = await serverFor(p, actor, params.id);
      const found = await diagnosticsOf(p, server);
      if ('code' in found) throw errorOf(found);
      if (minor < 48) return { status: 200, body: freeForm(found) };
      const macs = (await portsOfServer(p.stores.global, server.id)).map(({ mac }) => mac);
      return { status: 200, body: inNovasWords(server, found, macs) };
    },
  }),
];

function freeForm({ cpus, disks, memoryMb }: Diagnostics): object {
  return Object.fromEntries([
    ...cpus.map(({ id, timeNs }) => [`cpu${id}_time`, timeNs]),
    ...disks.flatMap(({ name, readBytes, readRequests, writeBytes, writeRequests, errors }) => [
      [`${name}_read`, readBytes],
      [`${name}_read_req`, readRequests],
      [`${name}_write`, writeBytes],
      [`${name}_write_req`, writeRequests],
      [`${name}_errors`, errors],
    ]),
    ['memory', memoryMb.maximum * 1024],
    ['memory-rss', memoryMb.used * 1024],
  ]);
}

function inNovasWords(server: Server, found: Diagnostics, macs: readonly string[]): object {
  const none = { octets: null, errors: null, drop: null, packets: null, rate: null };
  const uncounted = Object.fromEntries(
    ['rx', 'tx'].flatMap((way) => Object.keys(none).map((what) => [`${way}_${what}`, null])),
  );
  return {
    state: found.paused ? 'paused' : 'running',
    // The one of Nova's drivers whose words these are; its clients know no other.
    driver: 'libvirt',
    hypervisor: 'qemu',
    hypervisor_os: 'linux',
    uptime: found.uptimeSeconds,
    config_drive: server.configDrive !== null,
    num_cpus: found.cpus.length,
    num_nics: macs.length,
    num_disks: found.disks.length,
    memory_details: { maximum: found.memoryMb.maximum, used: found.memoryMb.used },
    cpu_details: found.cpus.map(({ id, timeNs }) => ({ id, time: timeNs, utilisation: null })),
    nic_details: macs.map((mac) => ({ mac_address: mac, ...uncounted })),
    disk_details: found.disks.map((disk) => ({
      read_bytes: disk.readBytes,
      read_requests: disk.readRequests,
      write_bytes: disk.writeBytes,
      write_requests: disk.writeRequests,
      errors_count: disk.errors,
    })),
  };
}
