// A threshold that cannot be: the run does not begin.
export const options = { thresholds: { nonsense: ['count>1'] } };

export default function () {}
