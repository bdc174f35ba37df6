// Forms with files.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

const text = open('./lib/data.txt');
const bytes = open('./lib/data.txt', 'b');

export default function () {
  const file = http.file('content', 'name.txt', 'text/plain');
  tell({ file: [file.data, file.filename, file.content_type], keys: Object.keys(file).sort() });
  http.post(`${url}/echo`, { file });
  http.post(`${url}/echo`, { file: http.file(bytes, 'data.bin') });
  http.post(`${url}/echo`, { file: http.file(text, 'with "quotes".txt', 'text/x-own') });
  http.post(`${url}/echo`, { one: 'field', file, two: 5 });
}
