/** Certificates and channel bindings, against what OpenSSL makes and says. */
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import { connect, createSecureContext, type SecureVersion, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import t from 'tap';
import { parseCidr, parseIp } from '../../src/base/ip.js';
import { alternativeNames, namesOf, readAuthorities, subjectOf } from '../../src/proxy/certificates.js';
import { channelBindings, serverEndPoint, signatureHash } from '../../src/proxy/channel-bindings.js';
import { type DeviceRule, Devices } from '../../src/proxy/devices.js';
import { TlsKeeper } from '../../src/proxy/tls.js';
import { certify, materialOf } from '../support/certificates.js';
import { folder } from '../support/process.js';

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];

const made = (...args: readonly string[]): X509Certificate =>
  new X509Certificate(
    execFileSync('openssl', ['req', '-x509', '-nodes', '-days', '3', '-keyout', '/dev/null', ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  );

t.test('the hash of a signature (RFC 5929 4.1)', async (t) => {
  const rsa = ['-newkey', 'rsa:2048', '-subj', '/CN=x'];
  const pss = ['-sigopt', 'rsa_padding_mode:pss'];
  const cases: readonly [string, readonly string[], string | undefined][] = [
    ['RSA with SHA-1', [...rsa, '-sha1'], 'sha256'],
    ['RSA with SHA-512', [...rsa, '-sha512'], 'sha512'],
    ['RSASSA-PSS with SHA-384', [...rsa, '-sha384', ...pss], 'sha384'],
    ['RSASSA-PSS that names no hash', [...rsa, '-sha1', ...pss], 'sha256'],
    ['ECDSA with SHA-256', [...EC, '-subj', '/CN=x', '-sha256'], 'sha256'],
    ['ECDSA with SHA-384', [...EC, '-subj', '/CN=x', '-sha384'], 'sha384'],
    ['Ed25519', ['-newkey', 'ed25519', '-subj', '/CN=x'], undefined],
  ];
  for (const [name, args, hash] of cases) {
    const certificate = made(...args);
    t.equal(signatureHash(certificate.raw), hash, name);
    const digest = hash === undefined ? undefined : createHash(hash).update(certificate.raw).digest();
    t.same(serverEndPoint(certificate), digest, `${name}: the binding`);
  }
  const { raw } = made(...EC, '-subj', '/CN=x');
  for (let length = 0; length < raw.length; length += 7)
    t.equal(signatureHash(raw.subarray(0, length)), undefined, `cut at ${length}`);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (octets) => {
      signatureHash(Buffer.from(octets));
    }),
  );
});

t.test('names and subjects', async (t) => {
  const extension = 'subjectAltName=DNS:A.example,email:Joe@A.example,URI:http://x/,IP:192.0.2.1';
  const card = made(...EC, '-subj', '/C=DE/O=a, b/CN=printer 1', '-addext', extension);
  t.equal(subjectOf(card), 'CN=printer 1,O=a\\, b,C=DE');
  t.same(namesOf(card, ['email', 'DNS']), ['a.example', 'joe@a.example']);
  t.same(namesOf(card, ['DNS']), ['a.example']);
  t.same(namesOf(made(...EC, '-subj', '/CN=Joe@A.example'), ['email']), ['joe@a.example']);
  t.same(namesOf(made(...EC, '-multivalue-rdn', '-subj', '/CN=a+OU=b'), ['email']), [], 'a part of a name');
  t.same(namesOf(made(...EC, '-subj', '/O=x'), ['email']), []);
  t.same(
    alternativeNames('URI:"http://x/, DNS:evil.example", DNS:good.example', ['DNS']),
    ['good.example'],
    'what stands in quotes is no entry',
  );
  t.same(alternativeNames('DNS:"evil, DNS:b", DNS:c', ['DNS']), ['c']);
  t.same(alternativeNames('DNS:a, DNS:"b', ['DNS']), [], 'what cannot be read to its end says nothing');
  const pem = card.toString();
  t.match(readAuthorities(pem + pem), { ok: true });
  t.match(readAuthorities('x'), { ok: false, error: /must be PEM/ });
  t.match(readAuthorities(`${pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`), {
    ok: false,
    error: 'certificate 2 in it cannot be read',
  });
});

/** Both ends of a connection over TLS, once both are secure. */
const pair = async (
  keeper: TlsKeeper,
  version: SecureVersion,
  servername: string,
): Promise<{ client: TLSSocket; server: TLSSocket; close: () => void }> => {
  const rules = { tls: 'implicit', tlsFloor: '1.2', clientCerts: 'none' } as const;
  const listening = net.createServer();
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  const server = new Promise<TLSSocket>((resolve) => {
    listening.once('connection', (socket) => keeper.wrap(socket, rules, (done) => resolve(done.socket)));
  });
  const secureContext = createSecureContext({ minVersion: version, maxVersion: version });
  const options = { port, host: '127.0.0.1', servername, secureContext, rejectUnauthorized: false };
  const client = connect(options);
  await once(client, 'secureConnect');
  const other = await server;
  const close = (): void => {
    client.destroy();
    other.destroy();
    listening.close();
  };
  return { client, server: other, close };
};

t.test('channel bindings are the same on both ends', async (t) => {
  const dir = folder(t);
  const keeper = new TlsKeeper(['one.example', 'two.example'].map((name) => materialOf(certify(dir, name))));
  for (const name of ['one.example', 'two.example']) {
    const { client, server, close } = await pair(keeper, 'TLSv1.3', name);
    const bindings = channelBindings(server);
    t.same([...bindings.keys()], ['tls-exporter', 'tls-server-end-point']);
    const exported = client.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));
    t.same(bindings.get('tls-exporter'), exported);
    const served = new X509Certificate(readFileSync(path.join(dir, `${name}.crt`)));
    t.same(bindings.get('tls-server-end-point'), createHash('sha256').update(served.raw).digest(), name);
    close();
  }
  const { server, close } = await pair(keeper, 'TLSv1.2', 'one.example');
  t.same([...channelBindings(server).keys()], ['tls-server-end-point'], 'TLS 1.2 has no exporter to trust');
  close();
  t.equal(channelBindings(server).size, 0, 'a connection that is gone has none');
});

t.test('device networks', async (t) => {
  const rule = (name: string, network: string, more: Partial<DeviceRule> = {}): DeviceRule => {
    const cidr = parseCidr(network);
    if (!cidr.ok) throw new Error(cidr.error);
    return { name, networks: [cidr.value], tlsFloor: '1.0', starttls: true, plaintextAuth: false, ...more };
  };
  const devices = new Devices([
    rule('one', '192.0.2.64/32', { starttls: false, tlsFloor: undefined }),
    rule('all', '192.0.2.64/28'),
  ]);
  const at = (address: string) => {
    const ip = parseIp(address);
    if (ip === undefined) throw new Error(address);
    return ip;
  };
  t.equal(devices.find(at('192.0.2.64'))?.name, 'one', 'the first that holds the client');
  t.equal(devices.find(at('192.0.2.79'))?.name, 'all');
  t.equal(devices.find(at('192.0.2.80')), undefined);
  const listener = { tls: 'starttls', tlsFloor: '1.2', clientCerts: 'ask' } as const;
  t.same(devices.tlsFor(at('192.0.2.80'), listener), listener);
  t.same(devices.tlsFor(at('192.0.2.65'), listener), { ...listener, tlsFloor: '1.0' });
  t.same(devices.tlsFor(at('192.0.2.64'), listener), { ...listener, tls: 'none' });
  const implicit = { ...listener, tls: 'implicit' } as const;
  t.same(devices.tlsFor(at('192.0.2.64'), implicit), implicit, 'implicit TLS stays');
});
