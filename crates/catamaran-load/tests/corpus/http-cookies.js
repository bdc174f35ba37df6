// Cookies: from answers, from parameters, from the jar; forgotten with the iteration.
// A cookie without an end has 0 as its end; k6 tells the time of year 1.
// differs "expires":
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { iterations: 2 };

export default function () {
  const of = (params) => http.get(`${url}/cookies`, params).body;
  tell({ first: of() });
  const res = http.get(`${url}/cookie?plain=1&full=two;%20Path=/;%20HttpOnly;%20Max-Age=600&other=3;%20Path=/elsewhere`);
  tell({ cookies: res.cookies });
  const jar = http.cookieJar();
  tell({
    kept: of(), with: of({ cookies: { mine: 'm' } }), same: of({ cookies: { plain: 'beside' } }),
    replaced: of({ cookies: { plain: { value: 'r', replace: true } } }), after: of(),
    jar: jar.cookiesForURL(`${url}/cookies`), elsewhere: jar.cookiesForURL(`${url}/elsewhere`),
  });
  tell({ set: jar.set(url, 'added', 'a b', { path: '/cookies', max_age: 100 }), then: of() });
  jar.delete(url, 'plain');
  tell({ deleted: of() });
  jar.clear(url);
  tell({ cleared: of() });
  const own = new http.CookieJar();
  own.set(url, 'own', 'jar');
  tell({ own: of({ jar: own }), not: of(), request: http.get(`${url}/cookies`, { jar: own }).request.cookies });
}
