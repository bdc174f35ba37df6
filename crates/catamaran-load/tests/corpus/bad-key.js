// Options that cannot be: the run does not begin.
export const options = { scenarios: { a: { executor: 'constant-vus', duration: '1s', rate: 5 } } };

export default function () {}
