// Digests that nobody should use any more.
import crypto from 'k6/crypto';
import { tell, tried } from './lib/tell.js';

export default function () {
  const of = (name) => tried(() => crypto[name]('text', 'hex'));
  tell({ md4: of('md4'), ripemd160: of('ripemd160'), sha512_224: of('sha512_224') });
}
