// Digests in each form.
import crypto, { createHash, createHMAC, hmac, md5, randomBytes, sha1, sha256, sha384, sha512, sha512_256 } from 'k6/crypto';
import { tell, tried } from './lib/tell.js';

export default function () {
  const bytes = new Uint8Array([1, 2, 3]).buffer;
  const hash = createHash('sha256');
  hash.update('one ');
  hash.update('two');
  const keyed = createHMAC('sha1', 'key');
  keyed.update('text');
  tell({
    md5: md5('text', 'hex'), sha1: sha1('text', 'base64'), sha256: sha256('text', 'base64url'), sha384: sha384('text', 'base64rawurl'), sha512: sha512(bytes, 'hex'),
    small: sha512_256('text', 'hex'), binary: sha1('text', 'binary'), hmac: hmac('sha256', 'key', 'text', 'hex'), bytes: hmac('md5', bytes, bytes, 'hex'),
    hash: [hash.digest('hex'), hash.digest('base64')], keyed: keyed.digest('hex'), random: randomBytes(8).byteLength, hex: crypto.hexEncode('hi'),
    bad: tried(() => hmac('nonsense', 'k', 't', 'hex')), form: tried(() => md5('text', 'nonsense')), all: Object.keys(crypto).sort(),
  });
}
