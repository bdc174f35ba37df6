// Where requests may go, as the environment says it.
// env K6_BLOCK_HOSTNAMES=*.a.test,b.test
// env K6_BLACKLIST_IPS=10.0.0.0/8
// env K6_DNS=ttl=1m,select=first,policy=onlyIPv4
// env K6_RPS=1000
import http from 'k6/http';
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export default function () {
  const code = (url) => http.get(url, { timeout: '2s' }).error_code;
  const { dns, rps, blacklistIPs, blockHostnames } = exec.test.options;
  tell({
    codes: [code('http://x.a.test/'), code('http://b.test/'), code('http://10.0.0.1/')],
    options: [dns, rps, blacklistIPs, blockHostnames],
  });
}
