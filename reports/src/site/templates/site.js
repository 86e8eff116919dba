"use strict";
// Tables: a click on a column's head sorts, a word in the box above filters.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value ?? cell.textContent.trim();
    return value !== "" && !isNaN(value) ? Number(value) : value.toLowerCase();
  };
  const order = (a, b) =>
    typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      rows.sort((a, b) => (down ? order(b[0], a[0]) : order(a[0], b[0])));
      body.append(...rows.map((row) => row[1]));
    });
  });
}
for (const box of document.querySelectorAll("input[type=search]")) {
  const rows = [...document.getElementById(box.dataset.table).tBodies[0].rows];
  const count = document.getElementById(box.dataset.table + "-count");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    count.textContent = shown + " of " + rows.length;
  });
}
// Plots: the value nearest to the pointer.
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg");
  const data = figure.querySelector("script");
  if (!svg || !data) continue;
  const series = JSON.parse(data.textContent);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);
  const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, value] of [["r", 20], ["fill", "none"], ["stroke", "#1B1E23"], ["stroke-width", 6], ["visibility", "hidden"]])
    ring.setAttribute(name, value);
  svg.append(ring);
  const hide = () => {
    tip.hidden = true;
    ring.setAttribute("visibility", "hidden");
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale;
    const y = (event.clientY - box.top) * scale;
    let best = null;
    let least = 160 * 160 * scale;
    for (const { name, points } of series)
      for (const point of points) {
        const far = (point[0] - x) ** 2 + (point[1] - y) ** 2;
        if (far < least) [least, best] = [far, { name, point }];
      }
    if (!best) return hide();
    tip.textContent = series.length > 1 ? best.name + ": " + best.point[2] : best.point[2];
    tip.hidden = false;
    ring.setAttribute("cx", best.point[0]);
    ring.setAttribute("cy", best.point[1]);
    ring.setAttribute("visibility", "visible");
    const left = best.point[0] / scale + 14;
    tip.style.left = Math.max(0, Math.min(left, figure.clientWidth - tip.offsetWidth)) + "px";
    tip.style.top = svg.offsetTop + Math.max(0, best.point[1] / scale - tip.offsetHeight - 14) + "px";
  });
  svg.addEventListener("pointerleave", hide);
}
