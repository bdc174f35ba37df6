// Options that cannot be: the run does not begin.
export const options = { duration: 'long' };

export default function () {}
