// Options that cannot be: the run does not begin.
export const options = { duration: '5s', stages: [{ duration: '1s', target: 1 }] };

export default function () {}
