// Which statuses are expected.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export default function () {
  const get = (status, params) => http.get(`${url}/status/${status}`, params);
  get(404, { responseCallback: http.expectedStatuses(404) });
  get(200, { responseCallback: http.expectedStatuses(404) });
  get(503, { responseCallback: http.expectedStatuses(200, { min: 500, max: 504 }) });
  get(500, { responseCallback: null });
  http.setResponseCallback(http.expectedStatuses({ min: 400, max: 499 }));
  get(200);
  get(400);
  http.setResponseCallback(null);
  get(404);
  tell({ done: 1 });
}
