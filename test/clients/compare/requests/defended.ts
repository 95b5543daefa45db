// Where our answers differ from an OpenStack's and are meant to: the sentences that docs/compatibility.md gives for it.

export const DEFENDED = {
  schemaWords:
    'A body that its schema refuses is answered with the field, its value and the rule that it breaks; Keystone prints the whole schema behind that.',
  noSuchToken: 'What is no token at all is answered as a token that is not there: "Could not find token."',
  projectExtra: 'A changed project is answered without `extra`: nothing is kept there.',
  moreIdentity:
    "A user's default project and a service's description are shown even where Keystone would leave them out.",
  roleOptions: "No role is immutable, so a role's `options` are empty.",
  imagePlaces: 'Where the data of an image lie is not shown: there is neither `direct_url` nor `stores`.',
  imageErrors: 'Errors of the image service are JSON; those of Glance are a page of HTML.',
  imageSchemas: 'Schemas of the image service have no links.',
  providers: 'There are no provider attributes (`provider:…`): a network is nothing below itself.',
  madeNetwork:
    'A network that is made is answered as it is shown later: without provider attributes, and with `is_default` when it is external.',
  madeRule: 'A rule of a security group is answered with its `tags` when it is made, too.',
  portNames: 'Ports have names in DNS; Neutron shows them with its extension for that alone.',
  boundPort:
    'A port of a server has names in DNS, too, and its binding (`binding:vif_details`) says only what is true here.',
  innerNumbers: 'Numbers that mean something inside Neutron alone (`standard_attr_id`) are not shown.',
  routerSeed: 'There is a router from the first start, between the shared network and the external one.',
  requestIds: 'Every answer of block storage has `x-compute-request-id`, those without a body too.',
  volumeTypes: 'Quotas of single volume types are not counted.',
  volumeExtensions: "The list of block storage's extensions is empty: what there is, is told by its microversion.",
  nextPage:
    'The link `next` of a list of servers is there when there are more; that of Nova also when the page is just full.',
  consoles: 'Consoles over VNC and serial are always there; Nova refuses the kinds that its operator has switched off.',
  zones: 'Zones list the hosts of servers; the services of the control plane belong to none.',
  longValues: 'Values in the sentences of errors are cut at 200 characters, and objects are written as they were sent.',
  destinationHost: "A migration's `dest_host` is the name of the host that it goes to; Nova's is that host's address.",
  imageFormats: 'An image of a server has its formats from the beginning; that of Nova gets them with its data.',
  hostUptime: "A hypervisor says since when its host has been up, as with Nova's drivers that know it.",
  highestVersion: 'The highest microversion of compute is 2.96.',
  unknownPaths: 'A path that nothing is behind is answered 404 in JSON.',
  versionHeaders: 'A refused microversion is answered with headers that say the lowest.',
  pendingSnapshot: 'A snapshot is taken at once: there is no `image_snapshot_pending` before `image_snapshot`.',
} as const;
