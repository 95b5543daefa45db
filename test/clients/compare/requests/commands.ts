// What a person types in a day: `openstack` over all services, a server's life with its moves, and a little of `nova`.
import { DEFENDED } from './defended.ts';

export interface Command {
  readonly words: readonly string[];
  /** Whether it has columns or fields to show. */
  readonly json: boolean;
  /** What to wait for before the next. */
  readonly until?: Until;
  /** What a peer that has failed at it does first when it tries again; its server is ACTIVE before that. */
  readonly behind?: Command;
  /** Why its output differs from the peer's, in one sentence. */
  readonly defended?: string;
}

/** What to wait for, by its name. */
export interface Until {
  readonly kind: 'server' | 'volume';
  readonly name: string;
  readonly status: string;
}

const SERVER = 'walk-server';
const VOLUME = 'walk-volume';
const quiet = (line: string): Command => ({ words: line.split(' '), json: false });
const shown = (line: string): Command => ({ words: line.split(' '), json: true });
const server = (status: string, line: string, json = false): Command => ({
  ...{ words: line.split(' '), json },
  until: { kind: 'server', name: SERVER, status },
});
const volume = (status: string, line: string, json = false): Command => ({
  ...{ words: line.split(' '), json },
  until: { kind: 'volume', name: VOLUME, status },
});
/** What begins a move, and what ends it. */
const move = (begin: string, end: string): readonly Command[] => {
  const begun = server('VERIFY_RESIZE', `openstack ${begin} ${SERVER}`);
  return [begun, { ...server('ACTIVE', `openstack ${end} ${SERVER}`), behind: begun }];
};

export const walk: readonly Command[] = [
  shown('openstack versions show'),
  shown('openstack token issue'),
  shown('openstack project list'),
  shown('openstack image list'),
  shown('openstack image create --disk-format raw --container-format bare --file /etc/hostname walk-image'),
  shown('openstack image show walk-image'),
  shown('openstack flavor list'),
  shown('openstack flavor create --id walk-1 --ram 64 --disk 1 --vcpus 1 walk-small'),
  shown('openstack flavor create --id walk-2 --ram 128 --disk 1 --vcpus 1 walk-large'),
  shown('openstack flavor show walk-small'),
  shown('openstack network list'),
  shown('openstack network create walk-net'),
  shown('openstack subnet create --network walk-net --subnet-range 10.5.0.0/24 walk-subnet'),
  shown('openstack port create --network walk-net walk-port'),
  shown('openstack port list'),
  shown('openstack security group list'),
  quiet('openstack keypair create walk-key'),
  shown('openstack keypair list'),
  server(
    'ACTIVE',
    // There, so that it is known which host is the other one later.
    `openstack server create --image cirros --flavor walk-small --network shared --key-name walk-key --availability-zone nova:cell1-compute1 ${SERVER}`,
    true,
  ),
  shown('openstack server list'),
  shown('openstack server list --long --all-projects'),
  shown(`openstack server show ${SERVER}`),
  ...move('server resize --flavor walk-large', 'server resize confirm'),
  ...move('server resize --flavor walk-small --wait', 'server resize revert'),
  ...move('server migrate', 'server migration confirm'),
  ...move('--os-compute-api-version 2.56 server migrate --host cell2-compute1 --wait', 'server migration revert'),
  { ...shown('openstack server migration list'), defended: DEFENDED.destinationHost },
  {
    ...shown(`openstack --os-compute-api-version 2.80 server migration list --server ${SERVER}`),
    defended: DEFENDED.destinationHost,
  },
  shown(`openstack server event list ${SERVER}`),
  quiet(`openstack console log show ${SERVER}`),
  shown(`openstack console url show ${SERVER}`),
  volume('available', `openstack volume create --size 1 ${VOLUME}`, true),
  shown('openstack volume list'),
  shown(`openstack volume show ${VOLUME}`),
  volume('in-use', `openstack server add volume ${SERVER} ${VOLUME}`, true),
  shown(`openstack server volume list ${SERVER}`),
  volume('available', `openstack server remove volume ${SERVER} ${VOLUME}`),
  quiet(`openstack server add port ${SERVER} walk-port`),
  quiet(`openstack server remove port ${SERVER} walk-port`),
  server('SHUTOFF', `openstack server stop ${SERVER}`),
  server('ACTIVE', `openstack server start ${SERVER}`),
  server('ACTIVE', `openstack server reboot --hard ${SERVER}`),
  quiet(`openstack server set --property a=b ${SERVER}`),
  // Not waited for: with Nova's fake driver no image ever gets its data.
  { ...shown(`openstack server image create --name walk-snapshot ${SERVER}`), defended: DEFENDED.imageFormats },
  server('ACTIVE', `openstack server rebuild --image cirros ${SERVER}`, true),
  shown(
    'openstack server create --flavor walk-small --boot-from-volume 1 --image cirros --network walk-net --wait walk-root',
  ),
  shown('openstack compute service list'),
  shown('openstack hypervisor list'),
  { ...shown('openstack hypervisor show cell1-compute1'), defended: DEFENDED.hostUptime },
  shown('openstack aggregate list'),
  shown('openstack availability zone list --compute'),
  { ...shown('openstack quota show'), defended: DEFENDED.volumeTypes },
  shown('openstack limits show --absolute'),
  shown('openstack usage show'),
  shown('openstack server group list'),
  quiet('openstack server delete --wait walk-root'),
  quiet(`openstack server delete --wait ${SERVER}`),
  quiet(`openstack volume delete ${VOLUME}`),
  quiet('openstack port delete walk-port'),
  quiet('openstack network delete walk-net'),
  quiet('openstack image delete walk-image walk-snapshot'),
  quiet('openstack flavor delete walk-small walk-large'),
  quiet('openstack keypair delete walk-key'),
  quiet('nova list'),
  quiet('nova --version'),
  quiet('nova migration-list'),
  quiet('nova hypervisor-list'),
];
