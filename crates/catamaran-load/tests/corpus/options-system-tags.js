// Fewer tags, and unusual ones.
import http from 'k6/http';
import { check, group } from 'k6';

export const options = { systemTags: ['status', 'method', 'ip', 'check', 'group'] };

export default function () { group('in', () => check(http.get(`${__ENV.URL}/hello`, { tags: { url: 'own' } }), { fine: true })); }
