// A threshold that cannot be: the run does not begin.
export const options = { thresholds: { http_reqs: 5 } };

export default function () {}
