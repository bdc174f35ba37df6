// The options as the script sees them.
// Scenarios tell what holds, where k6 tells null for what the script left out.
// differs | scenarios: 
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export const options = {
  vus: 2, iterations: 2, userAgent: 'mine', tags: { a: 'b' }, thresholds: { iterations: ['count>0'] }, setupTimeout: '5s', noConnectionReuse: true,
};

export default function () {
  if (__VU !== 1 && __ITER === 0) { /* one is enough */ }
  if (exec.scenario.iterationInTest !== 0) return;
  const { test } = exec;
  tell({
    scenarios: test.options.scenarios, paused: test.options.paused, agent: test.options.userAgent, tags: test.options.tags, setup: test.options.setupTimeout,
    vus: test.options.vus, iterations: test.options.iterations, thresholds: test.options.thresholds, keys: Object.keys(test.options).sort(),
    batch: test.options.batch, trend: test.options.summaryTrendStats, system: test.options.systemTags, none: test.options.noConnectionReuse,
  });
}
