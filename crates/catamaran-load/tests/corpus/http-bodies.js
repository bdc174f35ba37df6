// What may be a body.
// An empty form is no body in chunks; numbers and truths are texts, where k6 sends nothing.
// differs | Transfer-Encoding: chunked
// differs | Content-Length: 0 | Content-Type
// differs number: 
// differs truth: 
// differs | 5
// differs | true
// differs http_req
import http from 'k6/http';
import { tell, tried, url } from './lib/tell.js';

export default function () {
  const of = (body, params) => tried(() => http.post(`${url}/echo`, body, params).body);
  tell({
    bytes: of(new Uint8Array([104, 105]).buffer),
    json: of(JSON.stringify({ a: [1, 2] }), { headers: { 'Content-Type': 'application/json' } }),
    text: of('grüße ✓'),
    empty: of({}),
    number: of(5),
    truth: of(true),
  });
}
