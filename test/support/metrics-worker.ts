/** A process with metrics of its own, for test/admin/aggregate.test.ts: counts, answers, and hangs when it is told to. */
import { createMetrics } from '../../src/admin/metrics.js';

const metrics = createMetrics({ version: '1', listeners: ['mx'], upstreams: ['old'], connections: 10 });
metrics.policy({ rules: [], observe: false });

const peer = {
  ...{ session: 's', listener: 'mx', address: '', port: 0, name: undefined, helo: undefined },
  protocol: 'SMTP',
};

process.on('message', (said: { id: number; count?: number; hang?: boolean }) => {
  for (let i = 0; i < (said.count ?? 0); i += 1) {
    metrics.note({ type: 'connect', peer });
    metrics.note({ type: 'command', peer, verb: 'EHLO', code: 250, seconds: 0.002 });
  }
  if (said.hang === true) for (;;);
  void metrics.snapshot().then((snapshot) => process.send?.({ id: said.id, snapshot }));
});
process.send?.({ id: 0, snapshot: [] });
