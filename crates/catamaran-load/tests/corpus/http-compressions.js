// Bodies that are packed come back packed, and are unpacked. Their bytes are each program's own.
// without requests
import http from 'k6/http';
import { check } from 'k6';
import { url } from './lib/tell.js';

export default function () {
  const text = 'a text, and again a text. '.repeat(2000);
  for (const compression of ['gzip', 'deflate', 'zstd', 'gzip, zstd', ' zstd,deflate']) {
    const res = http.post(`${url}/repacked`, text, { compression });
    check(res, {
      [`${compression} is as it was`]: (r) => r.body === text,
      [`${compression} is small`]: (r) => Number(r.headers['Content-Length']) < text.length / 50,
      [`${compression} is told as ${res.request.headers['Content-Encoding']}`]: () => true,
    });
  }
}
