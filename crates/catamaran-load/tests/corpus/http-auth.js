// Names and passwords.
// differs | url: 
// differs | basic: 
// differs ****:****@
// differs name="URL/basic"
// Names and passwords are left out of res.url and of tags here.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const named = url.replace('//', '//user:pass@');
  const of = (res) => [res.status, res.body, res.url];
  tell({
    url: of(http.get(`${named}/basic`)), basic: of(http.get(`${named}/basic`, { auth: 'basic' })),
    none: of(http.get(`${url}/basic`)), header: of(http.get(`${url}/basic`, { headers: { Authorization: 'Basic dXNlcjpwYXNz' } })),
  });
}
