// Bodies that are not kept, unless a request wants its own.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { discardResponseBodies: true };

export default function () {
  tell({
    dropped: http.get(`${url}/hello`).body,
    kept: http.get(`${url}/hello`, { responseType: 'text' }).body,
    bytes: http.get(`${url}/bytes/2`, { responseType: 'binary' }).body,
  });
}
