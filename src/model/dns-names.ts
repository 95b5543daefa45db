// Names that can stand in DNS, as Neutron takes them for ports, floating IPs and networks (RFC 1123, section 2.1).
// Sentences: neutron-lib/api/validators/dns.py. Pure.

/** Characters of a whole name (neutron-lib: FQDN_FIELD_SIZE). */
const MAX_LENGTH = 255;

/** What is wrong with a name of one or more labels, with or without a dot at its end; null: nothing. '' is none. */
export function wrongDnsName(name: string): string | null {
  if (name === '') return null;
  const reason = wrongLabels(name.endsWith('.') ? name.slice(0, -1) : name);
  return reason === null ? null : `'${name}' not a valid PQDN or FQDN. Reason: ${reason}`;
}

/** The same of a name that a domain comes behind. */
export function wrongRelativeName(name: string): string | null {
  if (name.endsWith('.')) return `'${name}' is a FQDN. It should be a relative domain name`;
  return wrongDnsName(name) ?? tooLong(name, MAX_LENGTH - 3, 'domain name');
}

/** The same of a domain, which ends with a dot. */
export function wrongDomain(domain: string): string | null {
  if (domain !== '' && !domain.endsWith('.')) return `'${domain}' is not a FQDN`;
  return wrongDnsName(domain) ?? tooLong(domain, MAX_LENGTH - 2, 'sub-domain');
}

function wrongLabels(name: string): string | null {
  if (name.length > MAX_LENGTH) return `'${name}' exceeds the ${MAX_LENGTH} character FQDN limit`;
  const labels = name.split('.');
  for (const label of labels) {
    if (label === '') return 'Encountered an empty component';
    if (label.startsWith('-') || label.endsWith('-')) return `Name '${label}' must not start or end with a hyphen`;
    if (!/^[a-z0-9-]{1,63}$/i.test(label)) {
      const may = 'each of which can only be alphanumeric or a hyphen';
      return `Name '${label}' must be 1-63 characters long, ${may}`;
    }
  }
  const top = labels.at(-1) ?? '';
  return labels.length > 1 && /^[0-9]+$/.test(top) ? `TLD '${top}' must not be all numeric` : null;
}

const tooLong = (name: string, most: number, added: string): string | null =>
  name.length <= most
    ? null
    : `'${name}' contains ${name.length} characters. Adding a ${added} will cause it to exceed the maximum length of a FQDN of '${MAX_LENGTH}'`;
