// In place of jslib's k6-summary: the text that is printed without handleSummary.
import { host } from "catamaran:host";

export function textSummary(data, options = {}) {
  const indent = options?.indent ?? "";
  return host.summaryText().split("\n").map((line) => (line === "" ? line : indent + line)).join("\n");
}

const escaped = (text) => String(text).replace(/[<>&"']/g, (c) => `&#${c.charCodeAt(0)};`);

export function jUnit(data, options = {}) {
  const cases = [];
  let failures = 0;
  for (const [name, metric] of Object.entries(data.metrics)) {
    for (const [threshold, { ok }] of Object.entries(metric.thresholds ?? {})) {
      failures += ok ? 0 : 1;
      const result = ok ? " />" : `><failure message="crossed" /></testcase>`;
      cases.push(`<testcase name="${escaped(name)} - ${escaped(threshold)}"${result}`);
    }
  }
  const suite = escaped(options?.name ?? "k6 thresholds");
  return `<?xml version="1.0"?>\n<testsuites tests="${cases.length}" failures="${failures}">\n`
    + `<testsuite name="${suite}" tests="${cases.length}" failures="${failures}">${cases.join("\n")}\n</testsuite >\n</testsuites >`;
}

export default { textSummary, jUnit };
