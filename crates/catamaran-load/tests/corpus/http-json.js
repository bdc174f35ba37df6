// JSON of answers, whole and by path.
// An empty body is no body in chunks.
// differs POST /echo
import http from 'k6/http';
import { tell, tried, url } from './lib/tell.js';

export default function () {
  const res = http.get(`${url}/json`);
  const paths = [
    'name', 'size.length', 'size.crew', 'size.crew.1', 'size.crew.#', 'tags.0', 'none', 'yes', 'a\\.b', 'missing', 'size.missing',
    'friends.#', 'friends.#.first', 'friends.1.last', 'friends.#(last=="Murphy").first', 'friends.#(last=="Murphy")#.first',
    'friends.#(age>45)#.last', 'friends.#(first%"D*").last', 'friends.#(nets.#(=="fb"))#.first', 'tags.5', 'size', 'friends.0',
    'na*', 's?ze.length', 'name|@this', 'friends.#(age>45)#|0.first',
  ];
  const told = { whole: res.json() };
  for (const path of paths) told[path] = tried(() => res.json(path));
  tell(told);
  tell({
    text: tried(() => http.get(`${url}/hello`).json()), none: tried(() => http.get(`${url}/json`, { responseType: 'none' }).json()),
    binary: tried(() => http.get(`${url}/json`, { responseType: 'binary' }).json('name')), empty: tried(() => http.post(`${url}/echo`, '').json()),
  });
}
