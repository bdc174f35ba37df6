// Digests that nobody should use any more.
// MD4 and RIPEMD-160 are not there.
// differs | md4: 
// differs | ripemd160: 
// differs | sha512_224: 
import crypto from 'k6/crypto';
import { tell, tried } from './lib/tell.js';

export default function () {
  const of = (name) => tried(() => crypto[name]('text', 'hex'));
  tell({ md4: of('md4'), ripemd160: of('ripemd160'), sha512_224: of('sha512_224') });
}
