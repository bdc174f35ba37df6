// Requests that get no answer.
// A URL without a host is a request that failed; k6 does not count it.
// differs | url: 
// differs http_req
// without text
// without samples
import http from 'k6/http';
import { tell, tried, url } from './lib/tell.js';

export default function () {
  const of = (res) => [res.status, res.error_code, res.body, res.status_text, res.headers, res.proto];
  const failures = {
    refused: of(http.get('http://127.0.0.1:1/')),
    timeout: of(http.get(`${url}/slow/5000`, { timeout: 200 })),
    text: of(http.get(`${url}/slow/5000`, { timeout: '200ms' })),
    scheme: tried(() => of(http.get('ftp://127.0.0.1/'))),
    url: tried(() => of(http.get('http://:x/'))),
    empty: tried(() => of(http.get(''))),
    relative: tried(() => of(http.get('/path'))),
    thrown: tried(() => http.get('http://127.0.0.1:1/', { throw: true })),
    batch: tried(() => http.batch([['GET', 'http://127.0.0.1:1/', null, { throw: true }]])),
    name: http.get('http://name.invalid/').status,
  };
  tell(failures);
}
