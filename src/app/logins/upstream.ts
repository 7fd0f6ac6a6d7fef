/** `upstream: true`: passwords are tried at the mail server's own SMTP AUTH; `upstream: host:port` is another one. */
import { z } from 'zod';
import { upstreamStore } from '../../identity/stores/upstream.js';
import { ownName } from '../own-name.js';
import { endpoint, PASSWORD_SERVER_FIELDS, passwordServer, Server } from './remote.js';

const upstreamError = 'must be true, or a host and a port such as mail.example.org:587';

const Upstream = z.strictObject(
  {
    upstream: z.union([z.literal(true, { error: upstreamError }), Server], { error: upstreamError }),
    ...PASSWORD_SERVER_FIELDS,
  },
  { error: 'must be a map with upstream: true' },
);

export const upstream = passwordServer(
  'upstream',
  Upstream,
  (entry, tools) => (entry.upstream === true ? tools.upstream : endpoint(entry.upstream)),
  (options) => upstreamStore({ ...options, ownName: ownName() }),
);
