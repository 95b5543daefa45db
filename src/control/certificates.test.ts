import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { certificateFingerprint, generateCertificate } from './certificates.ts';

test('a new pair is a certificate of the user, signed by its own key', async () => {
  const now = Date.UTC(2026, 10, 22, 12, 0, 5);
  const { publicKey, privateKey } = await generateCertificate('0123456789abcdef', now);
  const certificate = new X509Certificate(publicKey);
  assert.equal(certificate.subject, 'CN=0123456789abcdef');
  assert.ok(certificate.verify(certificate.publicKey) && certificate.checkPrivateKey(createPrivateKey(privateKey)));
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2']);
  assert.match(certificate.subjectAltName ?? '', /0123456789abcdef@localhost/);
  assert.equal(certificate.validFromDate.getTime(), now);
  assert.match(certificateFingerprint(publicKey) ?? '', /^([0-9a-f]{2}:){19}[0-9a-f]{2}$/);
});

test('what is no certificate has no fingerprint', () => {
  for (const text of ['', 'ssh-rsa AAAA', '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----']) {
    assert.equal(certificateFingerprint(text), null);
  }
});
