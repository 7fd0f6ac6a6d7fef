import os from 'node:os';

/** This host's name as it may stand in EHLO. */
export const ownName = (): string => {
  const name = os.hostname();
  return /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(name) ? name : 'localhost';
};
