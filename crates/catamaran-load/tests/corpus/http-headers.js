// Headers of requests and of answers.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const res = http.get(`${url}/fields`, {
    headers: {
      'x-lower': 'l', 'X-UPPER': 'U', 'X-Number': 5, Accept: 'text/html', 'User-Agent': 'mine', Host: 'example.test',
      'X-Empty': '',
    },
  });
  tell({ headers: res.headers, sent: res.request.headers, twice: res.headers['X-Twice'] });
}
