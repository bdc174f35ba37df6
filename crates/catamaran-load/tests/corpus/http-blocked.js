// Names and addresses that are not to be asked.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = {
  blockHostnames: ['*.blocked.test', 'alone.test'],
  blacklistIPs: ['10.0.0.0/8', '2001:db8::/32'],
  hosts: { 'mapped.test': '10.1.2.3', 'fine.test': '127.0.0.1:1', 'sub.blocked.test': '127.0.0.1:1' },
};

export default function () {
  const of = (url) => {
    const res = http.get(url, { timeout: '2s' });
    return [res.status, res.error_code, res.error];
  };
  tell({
    below: of('http://a.blocked.test/'),
    alone: of('http://alone.test/'),
    mappedToo: of('http://sub.blocked.test/'),
    address: of('http://10.9.9.9/'),
    mapped: of('http://mapped.test/'),
    v6: of('http://[2001:db8::1]/'),
    fine: of('http://fine.test/'),
    local: of(`${url}/hello`),
  });
}
