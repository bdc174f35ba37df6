// Names of URLs.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  for (const id of [1, 2]) {
    http.get(http.url`${url}/users/${id}/posts/${'x'}`);
    http.get(`${url}/named/${id}`, { tags: { name: 'named' } });
    http.get(`${url}/plain/${id}?q=1#fragment`);
  }
  http.post(http.url`${url}/echo/${3}`, 'b', { tags: { kind: 'k' } });
  http.get(http.url`${url}/both/${1}`, { tags: { name: 'mine' } });
  tell({ done: 1 });
}
