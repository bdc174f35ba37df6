// Options that cannot be: the run does not begin.
export const options = { scenarios: { a: { executor: 'constant-vus', vus: 1, duration: '500ms' } } };

export default function () {}
