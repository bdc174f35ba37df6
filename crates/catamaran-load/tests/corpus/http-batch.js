// Requests that go out together.
// unordered
import http from 'k6/http';
import { tell, tried, url } from './lib/tell.js';

export default function () {
  const list = http.batch([
    `${url}/one`, ['POST', `${url}/echo`, 'two', { tags: { nth: 'two' } }], { method: 'PUT', url: `${url}/echo`, body: 'three' },
    { url: `${url}/four` }, ['GET', `${url}/five`, null, { headers: { 'X-Five': '5' } }], http.url`${url}/six/${6}`,
  ]);
  tell({ list: list.map((res) => [res.status, res.body]), isArray: Array.isArray(list) });
  const map = http.batch({ a: `${url}/a`, b: ['POST', `${url}/echo`, { form: 'b' }], c: { method: 'GET', url: `${url}/status/404` } });
  // k6 gives them in any order.
  tell({ map: Object.keys(map).sort().map((key) => [key, map[key].status, map[key].body]) });
  tell({ empty: http.batch([]), nothing: tried(() => http.batch()) });
}
