// Files that are read at the top level.
// import.meta.resolve is not there.
// differs | resolved: 
import { tell, tried } from './lib/tell.js';

const text = open('./lib/data.txt'), bytes = open('./lib/data.txt', 'b');
const missing = tried(() => open('./lib/nothing.txt')), resolved = typeof import.meta.resolve === 'function';

export default function () {
  tell({ text, bytes: bytes.byteLength, isBuffer: bytes instanceof ArrayBuffer, missing, resolved, late: tried(() => open('./lib/data.txt')) });
}
