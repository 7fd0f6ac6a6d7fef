/** DES crypt(3): password octets (no more than 8 count) and two characters of salt give 13 characters. */
declare module 'unix-crypt-td-js' {
  export default function unixCryptTD(password: number[], salt: string, returnBytes?: false): string;
}
