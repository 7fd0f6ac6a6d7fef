/** A real DNS server on loopback UDP that knows a few names, fails for others, and can fall silent. */
import dgram from 'node:dgram';
import packet from 'dns-packet';

export interface Zone {
  /** `PTR 9.113.0.203.in-addr.arpa` or `A pc.example` → data. */
  readonly [question: string]: readonly string[] | 'SERVFAIL';
}

export const startDns = async (
  zone: Zone,
): Promise<{ server: string; queries: string[]; silent(on: boolean): void; stop(): Promise<void> }> => {
  const socket = dgram.createSocket('udp4');
  const queries: string[] = [];
  let silent = false;
  socket.on('message', (message, peer) => {
    const query = packet.decode(message);
    const question = query.questions?.[0];
    if (question === undefined) return;
    const key = `${question.type} ${question.name.toLowerCase()}`;
    queries.push(key);
    if (silent) return;
    const found = zone[key] ?? [];
    const failed = found === 'SERVFAIL';
    const answers = failed
      ? []
      : found.map((data) => ({ type: question.type as 'A', name: question.name, ttl: 60, data }));
    const rcode = failed ? 2 : answers.length > 0 ? 0 : 3;
    const answer = packet.encode({
      id: query.id ?? 0,
      type: 'response',
      flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | rcode,
      questions: [question],
      answers,
    });
    socket.send(answer, peer.port, peer.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    server: `127.0.0.1:${socket.address().port}`,
    queries,
    silent: (on) => {
      silent = on;
    },
    stop: () => new Promise((resolve) => socket.close(() => resolve())),
  };
};
