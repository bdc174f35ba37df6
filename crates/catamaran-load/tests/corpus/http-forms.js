// Objects as forms: order, arrays, what must be escaped, what is nothing.
// Nothing is an empty text; k6 sends <nil>.
// differs none
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const of = (body, params) => http.post(`${url}/echo`, body, params).body;
  tell({
    order: of({ z: 1, a: 2, M: 3 }),
    array: of({ list: ['x', 'y', 3] }),
    escapes: of({ 'a b': "!'()*~-_.", 'ü': '&=+%', plus: 'a+b', slash: 'a/b?c' }),
    nothing: of({ none: null, empty: '' }),
    truths: of({ yes: true, no: false, float: 1.5, big: 1e21 }),
    own: of({ a: 1 }, { headers: { 'Content-Type': 'application/x-own' } }),
  });
}
