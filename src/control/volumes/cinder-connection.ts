// How a host's guests reach a volume, from the connection_info of an attachment in Cinder. Pure.
//
// What QEMU opens by itself, without devices of the host's kernel, is taken: files on an NFS share that the host has
// mounted. Everything else is refused by its name.
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { type VolumeConnection, VolumeOnShare } from '../../host/contract.ts';

/** Of the driver_volume_type `nfs`; `options` and `mount_point_base` are the host's own business. */
const Nfs = Type.Object({
  driver_volume_type: Type.Literal('nfs'),
  export: VolumeOnShare.properties.share,
  name: VolumeOnShare.properties.file,
  format: Type.Optional(VolumeOnShare.properties.format),
  encrypted: Type.Optional(Type.Literal(false)),
});

export type Connected =
  | { readonly kind: 'ok'; readonly connection: VolumeConnection }
  | { readonly kind: 'refused'; readonly reason: string };

export function connectionOf(
  info: Readonly<Record<string, unknown>>,
  volume: { readonly mode: 'rw' | 'ro'; readonly sizeBytes: number },
): Connected {
  if (Value.Check(Nfs, info)) {
    const { export: share, name: file, format = 'raw' } = info;
    return { kind: 'ok', connection: { kind: 'share', share, file, format, ...volume } };
  }
  const type = String(info['driver_volume_type'] ?? 'unknown').slice(0, 64);
  const why = type === 'nfs' ? 'with a connection that is not understood' : 'which hosts here cannot open';
  return { kind: 'refused', reason: `Cinder's backend serves the volume by ${type}, ${why}; only nfs can be used` };
}
