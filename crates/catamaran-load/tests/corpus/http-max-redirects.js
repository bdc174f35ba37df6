// The option for all requests.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { maxRedirects: 1 };

export default function () {
  const of = (res) => [res.status, res.url];
  tell({
    one: of(http.get(`${url}/redirect/1`)), two: of(http.get(`${url}/redirect/2`)),
    own: of(http.get(`${url}/redirect/2`, { redirects: 5 })),
  });
}
