// Thresholds of rates without samples hold.
export const options = { thresholds: { checks: ['rate>0.9'], 'checks{a:b}': ['rate==1'], http_req_failed: ['rate>0.5'] } };

export default function () {}
