// The explorer's zoom: the numbers of the page's own table, drawn by uPlot. Without it the
// server's chart and table say everything; it only lets a reader look closer.
"use strict";

let plot = null;

function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function numbers(table) {
  const times = [], costs = [];
  for (const row of table.tBodies[0].rows) {
    times.push(Date.parse(row.querySelector("time").dateTime) / 1000);
    costs.push(Number(row.querySelector(".cost data").value));
  }
  return [times, costs];
}

function draw() {
  plot?.destroy();
  plot = null;
  const place = document.getElementById("zoom"), table = document.getElementById("series");
  if (!place || !table || table.tBodies[0].rows.length < 3) return;
  place.hidden = false;
  place.replaceChildren();
  const quiet = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const language = document.documentElement.lang;
  const money = new Intl.NumberFormat(language, { style: "currency", currency: "USD", maximumFractionDigits: 6 });
  const options = {
    width: place.clientWidth,
    height: 200,
    legend: { show: true },
    cursor: { drag: { x: true, y: false } },
    axes: [quiet, { ...quiet, size: 80, values: (_, ticks) => ticks.map((tick) => money.format(tick)) }],
    series: [
      { value: (_, time) => (time == null ? "" : new Date(time * 1000).toLocaleString(language)) },
      {
        label: place.dataset.label, stroke: colour("--c0"), width: 2, points: { size: 6 },
        value: (_, cost) => (cost == null ? "" : money.format(cost)),
      },
    ],
  };
  plot = new uPlot(options, numbers(table), place);
  const hint = document.createElement("p");
  hint.className = "facts";
  hint.textContent = place.dataset.hint;
  place.append(hint);
}

addEventListener("resize", () => {
  const place = document.getElementById("zoom");
  if (plot && place) plot.setSize({ width: place.clientWidth, height: 200 });
});
document.addEventListener("htmx:after:swap", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
