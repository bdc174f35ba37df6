// Names in place of addresses.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

const host = url.replace('http://', '');
export const options = { hosts: { 'example.test': host, '*.wild.test': host } };

export default function () {
  const of = (res) => [res.status, res.body, res.remote_ip];
  tell({ name: of(http.get('http://example.test/hello')), wild: of(http.get('http://a.wild.test/hello')) });
}
