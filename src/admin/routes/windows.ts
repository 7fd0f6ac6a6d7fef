import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type Ip, parseIp } from '../../base/ip.js';
import { WINDOW_SOURCES, type Window, type WindowSource, windowKey } from '../../windows/window.js';
import type { House } from '../house.js';
import { Problem } from '../problems.js';
import { Address, End, Limit, Login, moment, schemaOf, Time } from '../schemas.js';
import { checkLogin } from './logins.js';

const WindowShape = z.object({
  login: Login,
  address: Address,
  source: z.enum(WINDOW_SOURCES),
  since: Time,
  until: End,
  used: z.int().meta({ description: 'recipients' }),
  budget: z.int().meta({ description: 'recipients there may be; 0: no bound of its own' }),
});
const List = z.object({ windows: z.array(WindowShape) });
const Query = z.strictObject({
  limit: Limit(100, 10_000),
  login: Login.optional(),
  address: Address.optional(),
});
const Named = z.strictObject({ login: Login, address: Address });
const Which = z.strictObject({ login: Login.optional(), address: Address.optional() });
const Opened = z.object({ result: z.enum(['opened', 'renewed']), window: WindowShape.optional() });
const Closed = z.object({ closed: z.int() });

/** How many windows are looked through for those of one login. */
const MOST = 100_000;

const shown = ({ login, address, source, since, until, used, budget }: Window) => ({
  ...{ login, address, source, since: moment(since), until: moment(until), used, budget },
});

const ipOf = (address: string): Ip => {
  const ip = parseIp(address);
  if (ip === undefined) throw new Problem(400, `address ${address}: not an IP address`);
  return ip;
};

/** What the store could not answer has been told by whoever asked it. */
const unknown = (): Problem => new Problem(503, 'the state store does not answer');

export const windowRoutes = (app: FastifyInstance, house: House): void => {
  const { state, note, now } = house;
  const held = async (login: string, ip: Ip): Promise<Window | undefined> =>
    (await state.lookup(windowKey(ip), now())).find((each) => each.login === login);

  const open = async (login: string, ip: Ip, source: WindowSource) => {
    let why = 'by the rules of roaming';
    const keeper = house.windows((event) => {
      if (event.type === 'window-refused') why = event.why;
      note(event);
    });
    const result = await keeper.open(login, ip, source);
    if (result === 'unknown') throw unknown();
    if (result === 'refused') throw new Problem(409, `no window may be opened: ${why}`);
    const window = await held(login, ip);
    return { result, ...(window === undefined ? {} : { window: shown(window) }) };
  };

  const named = (request: FastifyRequest<{ Body: z.output<typeof Named> }>): { login: string; ip: Ip } => {
    const { login, address } = request.body;
    request.target = `${login} ${address}`;
    checkLogin(login);
    return { login, ip: ipOf(address) };
  };

  const tags = ['windows'];
  app.get<{ Querystring: z.output<typeof Query> }>(
    '/api/v1/windows',
    {
      config: { access: 'read' },
      schema: {
        summary: 'The open windows',
        tags,
        querystring: schemaOf(Query),
        response: { 200: schemaOf(List, 'output') },
      },
    },
    async ({ query: { limit, login, address } }) => {
      const found =
        address === undefined
          ? await state.list(login === undefined ? limit : MOST, now())
          : await state.lookup(windowKey(ipOf(address)), now());
      const fitting = found.filter((each) => login === undefined || each.login === login);
      return { windows: fitting.slice(0, limit).map(shown) };
    },
  );
  app.post<{ Body: z.output<typeof Named> }>(
    '/api/v1/windows',
    {
      config: { access: 'full', action: 'window-open' },
      schema: {
        summary: 'Opens a window, or renews the one there is, by the rules of roaming',
        description: 'The policy knows it as api.',
        tags,
        body: schemaOf(Named),
        response: { 200: schemaOf(Opened, 'output') },
      },
    },
    async (request) => {
      const { login, ip } = named(request);
      return open(login, ip, 'api');
    },
  );
  app.post<{ Body: z.output<typeof Named> }>(
    '/api/v1/windows/renew',
    {
      config: { access: 'full', action: 'window-renew' },
      schema: {
        summary: 'Renews a window, which stays what it was opened by',
        tags,
        body: schemaOf(Named),
        response: { 200: schemaOf(Opened, 'output') },
      },
    },
    async (request) => {
      const { login, ip } = named(request);
      const window = await held(login, ip);
      if (window === undefined) throw new Problem(404, `"${login}" has no open window at ${ip.text}`);
      return open(login, ip, window.source);
    },
  );
  app.delete<{ Querystring: z.output<typeof Which> }>(
    '/api/v1/windows',
    {
      config: { access: 'full', action: 'window-close' },
      schema: {
        summary: 'Closes the windows that match all that is given, and something must be',
        tags,
        querystring: schemaOf(Which),
        response: { 200: schemaOf(Closed, 'output') },
      },
    },
    async (request) => {
      const { login, address } = request.query;
      request.target = [login, address].filter((each) => each !== undefined).join(' ');
      if (login === undefined && address === undefined)
        throw new Problem(400, 'say whose or where: login, address or both');
      if (login !== undefined) checkLogin(login);
      const which = {
        ...(login === undefined ? {} : { login }),
        ...(address === undefined ? {} : { ip: ipOf(address) }),
      };
      const closed = await house.windows(note).close(which, `by ${request.caller?.name ?? ''}`);
      if (closed === undefined) throw unknown();
      return { closed };
    },
  );
};
