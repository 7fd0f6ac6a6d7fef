/** `host:port` as people write it; '' is every address. */
export const endpointText = (host: string, port: number): string => {
  if (host === '') return `port ${port}`;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
};

/** Why a socket could not be bound, in words for people. */
export const listenFault = (
  error: { readonly code?: string | undefined; readonly message: string },
  host: string,
  port: number,
): string => {
  const at = endpointText(host, port);
  switch (error.code) {
    case 'EADDRINUSE':
      return `cannot listen on ${at}: another program already does`;
    case 'EACCES':
      return `cannot listen on ${at}: no permission (ports below 1024 need root or CAP_NET_BIND_SERVICE)`;
    case 'EADDRNOTAVAIL':
      return `cannot listen on ${at}: this host has no such address`;
    default:
      return `cannot listen on ${at}: ${error.message}`;
  }
};
