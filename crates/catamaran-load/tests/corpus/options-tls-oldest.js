// A lowest version of TLS only.
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export const options = { tlsVersion: { min: 'tls1.1' } };

export default function () {
  tell({ version: exec.test.options.tlsVersion });
}
