// Answers that are packed.
// What a broken body is called differs.
// differs error decompressing
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const of = (res) => [res.status, res.body, res.error_code, res.headers['Content-Encoding']];
  tell({
    gzip: of(http.get(`${url}/gzip`)), deflate: of(http.get(`${url}/deflate`)),
    broken: of(http.get(`${url}/broken-gzip`)),
    asked: of(http.get(`${url}/gzip`, { headers: { 'Accept-Encoding': 'gzip' } })),
    br: of(http.get(`${url}/br`)), zstd: of(http.get(`${url}/zstd`)),
    twice: of(http.get(`${url}/twice`)), unknown: of(http.get(`${url}/unknown`)),
    brokenBr: http.get(`${url}/broken/br`).error_code, brokenZstd: http.get(`${url}/broken/zstd`).error_code,
    unread: of(http.get(`${url}/broken/zstd`, { responseType: 'none' })),
    binary: http.get(`${url}/br`, { responseType: 'binary' }).body.byteLength,
  });
}
