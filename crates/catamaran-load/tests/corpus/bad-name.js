// Options that cannot be: the run does not begin.
export const options = { scenarios: { 'a b': { executor: 'shared-iterations' } } };

export default function () {}
