// A script that throws at its top level.
throw new Error('at once');

export default function () {}
