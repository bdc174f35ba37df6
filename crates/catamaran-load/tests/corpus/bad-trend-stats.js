// Options that cannot be: the run does not begin.
// differs exit
export const options = { summaryTrendStats: ['nonsense'] };

export default function () {}
