// The number of virtual users and nothing else.
// Which virtual user has which iteration is by chance, so that their numbers are told.
// unordered
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { vus: 3 };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.executor}/${exec.scenario.iterationInTest}`); }
