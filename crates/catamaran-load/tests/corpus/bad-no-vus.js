// Options that cannot be: the run does not begin.
export const options = { scenarios: { a: { executor: 'constant-arrival-rate', rate: 1, duration: '1s' } } };

export default function () {}
