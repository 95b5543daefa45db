// Key pairs of type x509: certificates with which users of Windows guests log in. They are read by Node's own parser and
// made here, field by field: a certificate of the user, signed by its own key, good for client authentication, with the
// user's name where Windows looks for it (nova/crypto.py, generate_winrm_x509_cert).
import { createSign, generateKeyPair, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';

const RSA_BITS = 2048;
const VALID_MS = 3650 * 24 * 3600_000;
// Off the main thread: making an RSA key takes a good part of a second.
const generateAsync = promisify(generateKeyPair);

/** SHA-1 of a certificate in PEM, as hexadecimal pairs with colons, as Nova shows it; null unless it is one. */
export function certificateFingerprint(pem: string): string | null {
  try {
    return new X509Certificate(pem).fingerprint.toLowerCase();
  } catch {
    // Not a certificate: the caller says so.
    return null;
  }
}

/** A new pair of a user, in PEM; the public part is a certificate. `now` in milliseconds since the epoch. */
export async function generateCertificate(
  userId: string,
  now: number,
): Promise<{ readonly publicKey: string; readonly privateKey: string }> {
  const { publicKey, privateKey } = await generateAsync('rsa', { modulusLength: RSA_BITS });
  const body = certificateBody(userId, publicKey, now);
  const signature = createSign('sha256').update(body).sign(privateKey);
  const certificate = sequence(body, SHA256_WITH_RSA, der(0x03, Buffer.of(0), signature));
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return {
    publicKey: ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n'),
    privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}

/** TBSCertificate of RFC 5280, section 4.1. */
function certificateBody(userId: string, publicKey: KeyObject, now: number): Buffer {
  const name = sequence(der(0x31, sequence(objectId('550403'), der(0x0c, Buffer.from(userId)))));
  const serial = randomBytes(16);
  // Positive, and not zero.
  serial.writeUInt8((serial.readUInt8(0) & 0x3f) | 0x40, 0);
  return sequence(
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, serial),
    SHA256_WITH_RSA,
    name,
    sequence(time(now), time(now + VALID_MS)),
    name,
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, sequence(sequence(EXTENDED_KEY_USAGE, der(0x04, sequence(CLIENT_AUTH))), alternativeName(userId))),
  );
}

/** subjectAltName, otherName: Windows's user principal name. */
const alternativeName = (userId: string): Buffer =>
  sequence(
    objectId('551d11'),
    der(
      0x04,
      sequence(der(0xa0, objectId('2b060104018237140203'), der(0xa0, der(0x0c, Buffer.from(`${userId}@localhost`))))),
    ),
  );

/** GeneralizedTime, in whole seconds. */
const time = (ms: number): Buffer =>
  der(0x18, Buffer.from(`${new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`));

/** A tag, the length of what follows, and that. */
function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const hex = content.length.toString(16);
  const length = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, content]);
}

const sequence = (...parts: readonly Buffer[]): Buffer => der(0x30, ...parts);
const objectId = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'));

// 1.2.840.113549.1.1.11, 2.5.29.37 and 1.3.6.1.5.5.7.3.2
const SHA256_WITH_RSA = sequence(objectId('2a864886f70d01010b'), der(0x05));
const EXTENDED_KEY_USAGE = objectId('551d25');
const CLIENT_AUTH = objectId('2b06010505070302');
