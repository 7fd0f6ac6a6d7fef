import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, libraryPath, unpack } from '../../support/packages.js';
import { DESCRIPTORS, launch, type Running, scratch } from './running.js';

/**
 * nginx's mail proxy with one worker. It asks an HTTP service at the first RCPT where to connect; the service is nginx
 * itself, in the same worker, which is as cheap as it gets.
 */
export const nginx = async (target: number): Promise<Running> => {
  const root = await unpack('nginx', ['libnginx-mod-mail']);
  const [dir, port, auth] = [scratch(), await freePort(), await freePort()];
  const file = path.join(dir, 'nginx.conf');
  writeFileSync(
    file,
    `load_module ${root}/usr/lib/nginx/modules/ngx_mail_module.so;
user root;
daemon off;
worker_processes 1;
pid ${dir}/pid;
error_log ${dir}/error.log crit;
events { worker_connections ${DESCRIPTORS}; }
http {
  access_log off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  server {
    listen 127.0.0.1:${auth} backlog=4096;
    location / {
      add_header Auth-Status OK;
      add_header Auth-Server 127.0.0.1;
      add_header Auth-Port ${target};
      return 204;
    }
  }
}
mail {
  server_name nginx.example;
  auth_http 127.0.0.1:${auth}/;
  timeout 300s;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    protocol smtp;
    smtp_auth none;
    xclient off;
  }
}
`,
  );
  return launch({
    port,
    command: [path.join(root, 'usr/sbin/nginx'), '-c', file, '-e', path.join(dir, 'error.log')],
    env: { LD_LIBRARY_PATH: libraryPath(root) },
    dir,
  });
};
