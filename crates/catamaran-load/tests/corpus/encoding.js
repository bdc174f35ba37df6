// Base64 of each kind.
import encoding, { b64decode, b64encode } from 'k6/encoding';
import { tell, tried } from './lib/tell.js';

export default function () {
  const kinds = ['std', 'rawstd', 'url', 'rawurl', undefined];
  tell({
    text: kinds.map((kind) => b64encode('sühe?>>~ok', kind)), bytes: kinds.map((kind) => b64encode(new Uint8Array([251, 255, 254, 1]).buffer, kind)),
    back: b64decode('c8O8aGU/Pj5+b2s=', 'std', 's'), binary: b64decode('-__-AQ', 'rawurl'), usual: b64decode('aGk='),
    empty: [b64encode(''), b64decode('', 'std', 's')], bad: tried(() => b64decode('!!!', 'std', 's')), default: typeof encoding.b64encode,
  });
}
