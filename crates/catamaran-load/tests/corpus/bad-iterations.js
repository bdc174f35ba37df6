// Options that cannot be: the run does not begin.
export const options = { vus: 5, iterations: 2 };

export default function () {}
