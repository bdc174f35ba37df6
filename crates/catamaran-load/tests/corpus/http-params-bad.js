// Parameters that are none.
// What cannot be is thrown; k6 gives a response with status 0 and logs.
// differs | timeout: 
// differs | type: 
// differs | callback: 
// differs http_req
// differs GET /hello
import http from 'k6/http';
import { tell, tried, url } from './lib/tell.js';

export default function () {
  const of = (params) => tried(() => http.get(`${url}/hello`, params).status);
  tell({
    unknown: of({ nonsense: 1 }), nothing: of(null), empty: of({}), timeout: of({ timeout: 'long' }), redirects: of({ redirects: '3' }),
    headers: of({ headers: null }), tags: of({ tags: null }), type: of({ responseType: 'nonsense' }), auth: of({ auth: 'nonsense' }),
    jar: of({ jar: {} }), callback: of({ responseCallback: 5 }), seconds: of({ timeout: '10s' }), number: of({ timeout: 5000.5 }),
  });
}
