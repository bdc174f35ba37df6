// Tags of requests.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { tags: { run: 'r' } };

export default function () {
  http.get(`${url}/tagged`, { tags: { own: 't', number: 5, truth: true } });
  http.get(`${url}/tagged`, { tags: { url: 'changed', method: 'changed', status: 'changed', name: 'n' } });
  http.get(`${url}/tagged`, { tags: {} });
  tell({ done: 1 });
}
