// A threshold that cannot be: the run does not begin.
export const options = { thresholds: { http_reqs: ['count~1'] } };

export default function () {}
