// Bodies as text, as bytes, as nothing.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const of = (path, responseType) => http.get(`${url}/${path}`, { responseType }).body;
  tell({
    text: of('hello', 'text'), binary: of('bytes/5', 'binary'), none: of('hello', 'none'), chunked: http.get(`${url}/chunked`).body,
    unread: http.get(`${url}/status/204`).body,
  });
}
