// handleSummary of a run that failed.
export const options = { thresholds: { iterations: ['count>5'] } };

export default function () {}

export function handleSummary(data) { return { stdout: `${data.metrics.iterations.thresholds['count>5'].ok}\n`, stderr: 'told' }; }
