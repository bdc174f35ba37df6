// Tags of the virtual user.
import http from 'k6/http';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { tell, tried, url } from './lib/tell.js';

const counter = new Counter('cc');
export const options = { iterations: 2, tags: { run: 'r' } };

export default function () {
  counter.add(1);
  tell({ before: Object.keys(exec.vu.tags).sort(), run: exec.vu.tags.run, scenario: exec.vu.tags.scenario });
  exec.vu.tags.mine = 'm';
  exec.vu.metrics.tags.number = 5;
  counter.add(1);
  http.get(`${url}/tagged`, { tags: { mine: 'own' } });
  tell({ tag: exec.vu.tags.mine, number: exec.vu.tags.number, bad: tried(() => { exec.vu.tags.bad = {}; return 'set'; }) });
  delete exec.vu.tags.mine;
  counter.add(1);
}
