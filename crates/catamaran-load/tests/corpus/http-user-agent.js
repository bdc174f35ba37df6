// Who asks.
import http from 'k6/http';

export const options = { userAgent: 'somebody/1.0' };

export default function () {
  http.get(`${__ENV.URL}/hello`);
  http.get(`${__ENV.URL}/hello`, { headers: { 'User-Agent': 'other' } });
  http.get(`${__ENV.URL}/hello`, { headers: { 'user-agent': 'lower' } });
}
