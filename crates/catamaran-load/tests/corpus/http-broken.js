// Answers that end too soon.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const of = (res) => [res.status, res.error_code, res.body];
  tell({ close: of(http.get(`${url}/close`)), cut: of(http.get(`${url}/cut`)), after: of(http.get(`${url}/hello`)) });
  tell({ last: of(http.get(`${url}/last`)), next: of(http.get(`${url}/hello`)) });
}
