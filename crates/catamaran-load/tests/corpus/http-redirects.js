// Redirects: how far, and what becomes of method and body.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const of = (res) => [res.status, res.url, res.body, res.request.method, res.error_code];
  tell({
    followed: of(http.get(`${url}/redirect/2`)),
    none: of(http.get(`${url}/redirect/2`, { redirects: 0 })),
    one: of(http.get(`${url}/redirect/3`, { redirects: 1 })),
    many: of(http.get(`${url}/redirect/12`)),
    301: of(http.post(`${url}/moved/301/echo`, 'body')),
    302: of(http.post(`${url}/moved/302/echo`, 'body')),
    303: of(http.put(`${url}/moved/303/echo`, 'body')),
    307: of(http.post(`${url}/moved/307/echo`, 'body')),
    308: of(http.put(`${url}/moved/308/echo`, 'body')),
    head: of(http.head(`${url}/moved/302/echo`)),
    304: of(http.get(`${url}/moved/304/echo`)),
    nowhere: of(http.get(`${url}/nowhere`)),
  });
}
