// Requests that are awaited.
// unordered
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default async function () {
  const one = await http.asyncRequest('GET', `${url}/one`);
  const [two, three] = await Promise.all([http.asyncRequest('POST', `${url}/echo`, 'two'), http.asyncRequest('GET', `${url}/status/404`, null, { tags: { t: '3' } })]);
  let threw = 'nothing';
  try { await http.asyncRequest('GET', 'http://127.0.0.1:1/', null, { throw: true }); } catch (error) { threw = 'threw'; }
  tell({ one: one.body, two: two.body, three: three.status, threw });
  http.asyncRequest('GET', `${url}/not-awaited`).then((res) => tell({ later: res.status }));
}
