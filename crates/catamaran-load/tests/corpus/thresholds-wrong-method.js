// A threshold that cannot be: the run does not begin.
export const options = { thresholds: { http_reqs: ['avg<1'] } };

export default function () {}
