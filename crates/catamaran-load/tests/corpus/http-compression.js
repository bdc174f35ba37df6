// Bodies that are packed before they are sent.
import http from 'k6/http';
import { tell, tried, url } from './lib/tell.js';

export default function () {
  // The bytes are each program's own; that both unpack to the same is what the header says.
  const of = (compression) => tried(() => http.post(`${url}/status/200`, 'aaaaaaaaaaaaaaaaaaaa', { compression }).request.headers['Content-Encoding']);
  tell({ none: of(''), bad: of('nonsense') });
}
