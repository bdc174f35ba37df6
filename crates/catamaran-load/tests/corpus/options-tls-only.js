// One version of TLS.
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export const options = { tlsVersion: 'tls1.3' };

export default function () {
  tell({ version: exec.test.options.tlsVersion });
}
