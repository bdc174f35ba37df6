// Shows the figures of the moment under the pointer; without it the page is still whole.
const run = JSON.parse(document.getElementById('run').textContent);
const time = (ms) => ms >= 60000 ? `${Math.floor(ms / 60000)}m${Math.round(ms % 60000 / 1000)}s`
  : ms >= 1000 ? `${(ms / 1000).toFixed(2)}s` : ms >= 1 ? `${ms.toFixed(2)}ms` : `${Math.round(ms * 1000)}µs`;
const bytes = (n) => n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB/s` : n >= 1e3 ? `${(n / 1e3).toFixed(1)} kB/s` : `${Math.round(n)} B/s`;
const units = { time, bytes, count: (n) => String(Math.round(n * 100) / 100) };
for (const chart of document.querySelectorAll('.chart[data-keys]')) {
  const svg = chart.querySelector('svg');
  const cursor = svg.querySelector('.cursor');
  const keys = chart.dataset.keys.split(',');
  const names = chart.dataset.names.split(',');
  const points = Number(chart.dataset.points);
  const left = Number(chart.dataset.left);
  const width = svg.viewBox.baseVal.width;
  const tip = document.createElement('div');
  tip.className = 'tip';
  tip.hidden = true;
  chart.append(tip);
  chart.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    const share = (x - left) / (width - left);
    const index = Math.round(share * Math.max(points - 1, 1));
    const point = run.seconds[index];
    const isOutside = share < -0.02 || share > 1.02 || !point || index >= points;
    tip.hidden = isOutside;
    cursor.style.visibility = isOutside ? 'hidden' : 'visible';
    if (isOutside) return;
    const at = left + index / Math.max(points - 1, 1) * (width - left);
    cursor.setAttribute('x1', at);
    cursor.setAttribute('x2', at);
    tip.replaceChildren();
    const lines = [`${point.second}s`, ...keys.map((key, n) => `${names[n]}: ${units[chart.dataset.unit](point[key])}`)];
    for (const line of lines) {
      const row = document.createElement('div');
      row.textContent = line;
      tip.append(row);
    }
    const px = at / width * box.width;
    tip.style.left = px > box.width / 2 ? 'auto' : `${px + 12}px`;
    tip.style.right = px > box.width / 2 ? `${box.width - px + 12}px` : 'auto';
  });
  chart.addEventListener('pointerleave', () => { tip.hidden = true; cursor.style.visibility = 'hidden'; });
}
