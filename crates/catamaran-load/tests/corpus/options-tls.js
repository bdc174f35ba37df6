// Versions and certificates of TLS, as options say them; the server speaks none.
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export const options = { tlsVersion: { min: 'tls1.2', max: 'tls1.3' } };

export default function () {
  tell({ version: exec.test.options.tlsVersion });
}
