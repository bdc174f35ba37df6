// What is said of logs and addresses, and how a script sees it.
// env K6_LOCAL_IPS=127.0.0.1-127.0.0.3
// env K6_HTTP_DEBUG=full
import http from 'k6/http';
import exec from 'k6/execution';
import { tell, url } from './lib/tell.js';

export const options = { handleSummaryTimeout: '10s', paused: false, tlsCipherSuites: ['TLS_RSA_WITH_RC4_128_SHA', 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'] };

export default function () {
  const { localIPs, httpDebug, handleSummaryTimeout, paused, tlsCipherSuites } = exec.test.options;
  tell({ localIPs, httpDebug, handleSummaryTimeout, paused, tlsCipherSuites });
  const res = http.get(`${url}/gzip`, { responseType: 'none' });
  tell({ body: res.body });
}
