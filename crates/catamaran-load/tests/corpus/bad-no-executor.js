// Options that cannot be: the run does not begin.
export const options = { scenarios: { a: { vus: 1 } } };

export default function () {}
