// A cookie that comes with a redirect.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const jar = http.cookieJar();
  jar.set(url, 'before', '1');
  const res = http.get(`${url}/moved/302/cookies`, { cookies: { param: 'p' } });
  tell({ body: res.body, cookies: res.cookies });
}
