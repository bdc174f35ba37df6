// Options that cannot be: the run does not begin.
export const options = { scenarios: { a: { executor: 'nothing' } } };

export default function () {}
