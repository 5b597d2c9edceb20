// The chart, and whether the page is up to date. Everything else is htmx's.
"use strict";

const MAX_SAMPLES = 300;
const chart = document.getElementById("chart");

function draw(place) {
  const series = JSON.parse(place.dataset.samples);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone: place.dataset.zone, timeStyle: "medium" });
  const times = (_, splits) => splits.map((seconds) => clock.format(seconds * 1000));
  const lastMinutes = (last) => {
    const end = last || Date.now() / 1000;
    return [end - MAX_SAMPLES, end];
  };
  const axis = () => ({ stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } });
  const height = () => Math.max(160, Math.min(320, window.innerHeight / 4));
  const options = () => ({
    width: place.clientWidth,
    height: height(),
    cursor: { show: false },
    legend: { live: false },
    series: [
      {},
      { label: "accepted a second", stroke: color("--accent"), width: 2, fill: color("--accent-soft") },
      { label: "events a second", stroke: color("--second"), width: 2, dash: [6, 4] },
    ],
    axes: [{ ...axis(), values: times, space: 80 }, { ...axis(), size: 72 }],
    scales: { x: { range: (_, __, last) => lastMinutes(last) }, y: { range: (_, least, most) => [0, Math.max(10, most * 1.1)] } },
  });
  let plot = new uPlot(options(), series, place);
  const again = () => {
    plot.destroy();
    plot = new uPlot(options(), series, place);
  };
  window.addEventListener("resize", () => plot.setSize({ width: place.clientWidth, height: height() }));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  document.body.addEventListener("htmx:sseMessage", (event) => {
    if (event.detail.type !== "sample") return;
    const point = JSON.parse(event.detail.data);
    if (series[0].length > 0 && point[0] <= series[0][series[0].length - 1]) return;
    series.forEach((values, at) => {
      values.push(point[at]);
      if (values.length > MAX_SAMPLES) values.shift();
    });
    plot.setData(series);
  });
}

if (chart) draw(chart);

const stale = document.getElementById("stale");
if (stale) {
  document.body.addEventListener("htmx:sseError", () => (stale.hidden = false));
  document.body.addEventListener("htmx:sseOpen", () => (stale.hidden = true));
}

// A slider says where it is while it moves.
document.body.addEventListener("input", (event) => {
  if (event.target.type !== "range") return;
  const output = event.target.form.querySelector(`output[for="${event.target.id}"]`);
  if (output) output.textContent = event.target.value;
});

// Where a part cannot be fetched, the reason stands in its place.
document.body.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status < 400) return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
  const page = new DOMParser().parseFromString(event.detail.serverResponse, "text/html");
  const why = page.querySelector("main p:not(.quiet)");
  const shown = document.createElement("p");
  shown.className = "failed";
  shown.setAttribute("role", "alert");
  shown.textContent = why ? why.textContent : "Moa does not answer.";
  event.detail.serverResponse = shown.outerHTML;
});
document.body.addEventListener("htmx:sendError", (event) => {
  const shown = document.createElement("p");
  shown.className = "failed";
  shown.setAttribute("role", "alert");
  shown.textContent = "Moa does not answer. Try again.";
  event.detail.target.replaceChildren(shown);
});
