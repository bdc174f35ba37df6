// What of a request goes along with a redirect.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const params = { headers: { Authorization: 'Bearer t', 'X-Own': 'o', 'Content-Type': 'text/x-own' }, cookies: { c: '1' }, tags: { own: 't' } };
  http.get(`${url}/redirect/1`, params);
  http.post(`${url}/moved/302/echo`, 'body', params);
  http.post(`${url}/moved/307/echo`, 'body', params);
  tell({ done: true });
}
