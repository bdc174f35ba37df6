// A request without anything, and all there is to see of its answer.
// What a response has is found in its prototype.
// differs | keys: 
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const res = http.get(`${url}/hello?a=1&b=x%20y#part`);
  tell({
    status: res.status, text: res.status_text, body: res.body, proto: res.proto, error: res.error, code: res.error_code,
    headers: res.headers, cookies: res.cookies, ip: res.remote_ip, tls: [res.tls_version, res.tls_cipher_suite],
    timings: Object.keys(res.timings).sort(), request: Object.keys(res.request).sort(), method: res.request.method,
    keys: Object.keys(res).sort(), url: res.url,
  });
}
