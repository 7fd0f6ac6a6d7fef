import { freePort, install, unpack } from '../../support/packages.js';
import { mainCf, postfixCommand, preparePostfix, SERVICES } from '../../support/postfix.js';
import { launch, type Running, scratch } from './running.js';

/** Postfix as a proxy before the queue (smtpd_proxy_filter): smtpd judges, and speaks with the mail server meanwhile. */
export const postfix = async (target: number): Promise<Running> => {
  await install(['unshare=util-linux']);
  const root = await unpack('postfix');
  const [dir, port] = [scratch(), await freePort()];
  const main = `${mainCf(root, dir)}
smtpd_proxy_filter = 127.0.0.1:${target}
smtpd_client_connection_count_limit = 0
message_size_limit = 100000000
`;
  preparePostfix(dir, main, `127.0.0.1:${port} inet n - n - - smtpd\n${SERVICES}`);
  return launch({ port, command: postfixCommand(root, dir), dir });
};
