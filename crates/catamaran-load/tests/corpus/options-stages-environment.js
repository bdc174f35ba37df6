// Stages of the environment.
// loose
// env K6_STAGES=500ms:1,500ms:0
import http from 'k6/http';
import { sleep } from 'k6';

export const options = { iterations: 5 };

export default function () { http.get(`${__ENV.URL}/staged`); sleep(0.2); }
