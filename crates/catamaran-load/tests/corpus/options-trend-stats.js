// Other columns of trends.
import { Trend } from 'k6/metrics';

const trend = new Trend('own');
export const options = { summaryTrendStats: ['med', 'p(99.9)', 'count', 'min', 'max', 'avg', 'p(50)'] };

export default function () { for (let i = 1; i <= 10; i++) trend.add(i * i); }
