// Every method, with and without a body.
// An empty body is no body in chunks.
// differs POST /echo | Transfer-Encoding: chunked
// differs POST /echo | Content-Length: 0
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const of = (res) => [res.status, res.body];
  tell({
    head: of(http.head(`${url}/hello`)),
    post: of(http.post(`${url}/echo`, 'posted')),
    empty: of(http.post(`${url}/echo`)),
    nothing: of(http.post(`${url}/echo`, null)),
    put: of(http.put(`${url}/echo`, 'put')),
    patch: of(http.patch(`${url}/echo`, 'patched')),
    del: of(http.del(`${url}/echo`)),
    deleted: of(http.del(`${url}/echo`, 'gone')),
    options: of(http.options(`${url}/echo`, 'opted')),
    request: of(http.request('GET', `${url}/echo`)),
    lower: of(http.request('post', `${url}/echo`, 'lower')),
    own: of(http.request('PURGE', `${url}/echo`, null)),
    text: of(http.post(`${url}/echo`, '')),
  });
}
