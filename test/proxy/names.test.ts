import t from 'tap';
import { type Ip, parseIp } from '../../src/base/ip.js';
import { ClientNames } from '../../src/proxy/names.js';
import { startDns } from '../support/dns-server.js';

const ip = (text: string): Ip => parseIp(text) as Ip;

const zone = {
  'PTR 9.113.0.203.in-addr.arpa': ['PC9.ISP.example'],
  'A pc9.isp.example': ['203.0.113.8', '203.0.113.9'],
  'PTR 10.113.0.203.in-addr.arpa': ['mail.local.example'],
  'A mail.local.example': ['192.0.2.1'],
  'PTR 13.113.0.203.in-addr.arpa': ['x[192.0.2.9]: SASL'],
  'A x[192.0.2.9]: sasl': ['203.0.113.13'],
  'A x[192.0.2.9]: SASL': ['203.0.113.13'],
  'PTR 11.113.0.203.in-addr.arpa': 'SERVFAIL' as const,
  'PTR 12.113.0.203.in-addr.arpa': ['half.example'],
  'A half.example': 'SERVFAIL' as const,
  'PTR 9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa': ['six.isp.example'],
  'AAAA six.isp.example': ['2001:db8::9'],
};

t.test('forward-confirmed names', async (t) => {
  const dns = await startDns(zone);
  t.teardown(() => dns.stop());
  const names = new ClientNames(1_000, [dns.server]);
  t.equal(names.cached(ip('203.0.113.9')), undefined);
  t.same(await names.lookUp(ip('203.0.113.9')), { known: true, value: 'pc9.isp.example' });
  t.same(names.cached(ip('203.0.113.9')), { known: true, value: 'pc9.isp.example' });
  t.same(await names.lookUp(ip('2001:db8::9')), { known: true, value: 'six.isp.example' });
  t.same(await names.lookUp(ip('203.0.113.10')), { known: true, value: undefined }, 'a name that lies');
  const odd = await names.lookUp(ip('203.0.113.13'));
  t.equal(odd.known ? odd.value : undefined, undefined, 'what is no host name');
  t.same(await names.lookUp(ip('203.0.113.99')), { known: true, value: undefined }, 'no name');
  t.equal((await names.lookUp(ip('203.0.113.11'))).known, false, 'a resolver that fails is not "no name"');
  t.equal((await names.lookUp(ip('203.0.113.12'))).known, false, 'nor is one that fails half way');
});

t.test('one question for many who ask, and an end to the wait', async (t) => {
  const dns = await startDns(zone);
  t.teardown(() => dns.stop());
  const names = new ClientNames(1_500, [dns.server]);
  await Promise.all(Array.from({ length: 20 }, () => names.lookUp(ip('203.0.113.9'))));
  t.equal(dns.queries.filter((query) => query.startsWith('PTR')).length, 1);
  dns.silent(true);
  t.equal((await names.lookUp(ip('203.0.113.10'))).known, false, 'a silent resolver');
  const dead = new ClientNames(300, ['127.0.0.1:1']);
  t.equal((await dead.lookUp(ip('203.0.113.9'))).known, false, 'no resolver at all');
});
