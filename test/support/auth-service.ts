/** A real nginx as a service for `auth_http`: it judges by a map of the header lines that it is sent. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { escapeHeader } from '../../src/identity/stores/nginx-http.js';
import { type Certified, certify } from './certificate.js';
import { Daemon } from './daemon.js';
import { freePort, install } from './packages.js';

export interface ServiceUser {
  readonly user: string;
  readonly password: string;
  readonly disabled?: boolean;
}

/** The challenge for which the service knows the right CRAM-MD5 digest of each user. */
export const CHALLENGE = '<1896.697170952@postoffice.example>';

/** A case-sensitive pattern of nginx' map: every octet that is no letter or digit by its number. */
const exactly = (text: string): string => {
  const octets = Buffer.from(text, 'latin1').toString('latin1');
  return `"~^${octets.replace(/[^A-Za-z0-9]/g, (octet) => `\\x${octet.charCodeAt(0).toString(16).padStart(2, '0')}`)}$"`;
};

const linesOf = ({ user, password, disabled }: ServiceUser): string => {
  const verdict = disabled === true ? '"Account disabled"' : 'OK';
  const digest = createHmac('md5', password).update(CHALLENGE).digest('hex');
  return `
    ${exactly(`plain ${escapeHeader(user)} ${escapeHeader(password)} `)} ${verdict};
    ${exactly(`cram-md5 ${escapeHeader(user)} ${digest} ${CHALLENGE}`)} ${verdict};`;
};

const configuration = (
  dir: string,
  ports: readonly [number, number],
  users: readonly ServiceUser[],
): string => `
daemon off;
master_process off;
pid ${dir}/pid;
error_log ${dir}/error.log;
events {}
http {
  access_log ${dir}/access.log;
  large_client_header_buffers 8 16k;
  map_hash_bucket_size 2048;
  client_body_temp_path ${dir}/1; proxy_temp_path ${dir}/2; fastcgi_temp_path ${dir}/3;
  uwsgi_temp_path ${dir}/4; scgi_temp_path ${dir}/5;
  map "$http_auth_method $http_auth_user $http_auth_pass $http_auth_salt" $verdict {
    default "Invalid login or password";
    ${users.map(linesOf).join('')}
    "~^external \\S*  $" OK;
  }
  map $http_x_key $keyed { default "No key"; secret OK; }
  server {
    listen 127.0.0.1:${ports[0]};
    listen 127.0.0.1:${ports[1]} ssl;
    ssl_certificate ${dir}/cert.pem;
    ssl_certificate_key ${dir}/key.pem;
    location = /auth { add_header Auth-Status $verdict; return 204; }
    location = /named { add_header Auth-Status OK; add_header Auth-User $arg_name; return 204; }
    location = /keyed { add_header Auth-Status $keyed; return 204; }
    location = /facts {
      add_header Auth-Status OK;
      add_header Auth-User "$http_auth_protocol/$http_auth_login_attempt/$http_client_ip/$http_auth_ssl/$http_client_host/$http_auth_ssl_verify";
      return 204;
    }
    location = /failing { add_header Auth-Status "Temporary failure"; add_header Auth-Error-Code "451 4.3.0"; return 204; }
    location = /refused { add_header Auth-Status "Not $http_auth_pass" always; add_header Auth-Error-Code "535 5.7.8" always; return 403; }
    location = /forever { add_header Auth-Status WAIT; add_header Auth-Wait 1; return 204; }
    location = /twice { add_header Auth-Status "Invalid"; add_header Auth-Status OK; return 204; }
    location = /moved { add_header Auth-Status OK always; return 302 /auth; }
    location = /broken { add_header Auth-Status OK always; return 500; }
    location = /denied { add_header Auth-Status OK always; return 403; }
    location = /silent { return 204; }
    location = /nobody { add_header Auth-Status OK; add_header Auth-User "tab%09"; return 204; }
  }
}
`;

export class AuthService extends Daemon {
  private constructor(
    readonly port: number,
    readonly tlsPort: number,
    readonly certified: Certified,
    dir: string,
  ) {
    super('nginx', dir, () => launch(dir));
  }

  static async start(users: readonly ServiceUser[]): Promise<AuthService> {
    await install(['nginx']);
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-nginx-'));
    const certified = certify(['auth.test', 'localhost'], ['127.0.0.1']);
    const ports = [await freePort(), await freePort()] as const;
    writeFileSync(path.join(dir, 'cert.pem'), certified.cert);
    writeFileSync(path.join(dir, 'key.pem'), certified.key);
    writeFileSync(path.join(dir, 'nginx.conf'), configuration(dir, ports, users), 'latin1');
    return new AuthService(...ports, certified, dir).begun();
  }

  protected there(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = net.connect({ host: '127.0.0.1', port: this.port });
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  }
}

const launch = (dir: string): ChildProcess =>
  spawn('nginx', ['-p', dir, '-c', path.join(dir, 'nginx.conf'), '-e', path.join(dir, 'error.log')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
