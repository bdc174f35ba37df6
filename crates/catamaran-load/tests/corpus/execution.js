// What k6/execution knows.
import exec from 'k6/execution';
import { tell, tried } from './lib/tell.js';

export const options = { scenarios: { one: { executor: 'per-vu-iterations', vus: 1, iterations: 2, maxDuration: '60s' } } };
const early = [tried(() => exec.scenario.name), tried(() => exec.vu.idInTest), tried(() => exec.test.options), tried(() => exec.instance.vusInitialized)];

export default function () {
  const { scenario, vu, instance } = exec;
  tell({
    scenario: [scenario.name, scenario.executor, scenario.iterationInInstance, scenario.iterationInTest, typeof scenario.startTime, typeof scenario.progress],
    vu: [vu.idInInstance, vu.idInTest, vu.iterationInInstance, vu.iterationInScenario],
    instance: [typeof instance.currentTestRunDuration, instance.iterationsInterrupted, typeof instance.iterationsCompleted, instance.vusActive, instance.vusInitialized],
    early, keys: Object.keys(exec).sort(), of: [scenario, vu, instance, exec.test].map((part) => Object.keys(part).sort()),
    globals: [__VU, __ITER],
  });
}

export function setup() { tell({ setup: [tried(() => exec.scenario.name), tried(() => exec.vu.idInTest), tried(() => exec.instance.vusActive)] }); }
