// Jars made at the top level are each virtual user's own and outlive iterations.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { iterations: 2 };

const jar = new http.CookieJar();
const other = new http.CookieJar();
other.set(url, 'early', '1');

export default function () {
  const of = (jar) => http.get(`${url}/cookies`, { jar }).body;
  tell({ before: of(jar), early: of(other), kept: jar.cookiesForURL(url) });
  jar.set(url, 'nth', String(__ITER));
  jar.set(url, `own${__ITER}`, 'a');
  tell({ after: of(jar), other: of(other), own: http.get(`${url}/cookies`).body });
}
