"use strict";
// See scripts/report-browser.
const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const puppeteer = require("puppeteer-core");

const [site, shots] = process.argv.slice(2);
const url = (page) => "file://" + path.join(site, page);

async function open(browser, name, viewport, dark) {
  const page = await browser.newPage();
  await page.setViewport(viewport);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  const wrong = [];
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("dialog", (dialog) => (wrong.push("a script of the input ran"), dialog.dismiss()));
  page.on("request", (request) => {
    if (!/^(file|data):/.test(request.url())) wrong.push("network: " + request.url());
  });
  const shoot = (what) => page.screenshot({ path: path.join(shots, `${what}-${name}.png`) });
  return { page, wrong, shoot };
}

const follow = (page, selector) => Promise.all([page.waitForNavigation(), page.click(selector)]);
const texts = (page, selector) => page.$$eval(selector, (all) => all.map((one) => one.textContent.trim()));
const title = (page) => page.$eval("h1", (h) => h.textContent);

// Every value that a plot has stands under the pointer at its point.
async function hover(page) {
  const plots = await page.$$("figure svg");
  assert.ok(plots.length > 0, "no plot");
  const plot = plots[0];
  await plot.scrollIntoView();
  const places = await plot.evaluate((svg) => {
    const series = JSON.parse(svg.parentElement.querySelector("script").textContent);
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const points = series[0].points;
    return [0, points.length >> 1, points.length - 1].map((place) => {
      const [x, y, text] = points[place];
      return [box.left + x * scale, box.top + y * scale, text];
    });
  });
  for (const [x, y, text] of places) {
    await page.mouse.move(x, y);
    const tip = await plot.evaluate((svg) => {
      const tip = svg.parentElement.querySelector(".tip");
      return tip.hidden ? null : tip.textContent;
    });
    assert.ok(tip && tip.includes(text), `hover shows ${tip}, not ${text}`);
  }
}

async function filter(page, table, words) {
  const rows = `#${table} tbody tr`;
  const all = (await page.$$(rows)).length;
  await page.type(`input[data-table=${table}]`, words);
  const left = await texts(page, `${rows}:not([hidden])`);
  assert.ok(left.length > 0 && left.length < all, `the filter leaves ${left.length} of ${all}`);
  for (const word of words.split(" ")) assert.ok(left.every((text) => text.includes(word)), left.join());
  const shown = await page.$eval(`#${table}-count`, (count) => count.textContent);
  assert.strictEqual(shown, `${left.length} of ${all}`);
}

async function sort(page, table, column) {
  for (const sign of [1, -1]) {
    await page.click(`#${table} thead th:nth-child(${column}) button`);
    const cells = await page.$$eval(`#${table} tbody td:nth-child(${column})`, (all) =>
      all.map((cell) => cell.dataset.value ?? cell.textContent.trim().toLowerCase()));
    const keys = cells.every((cell) => cell !== "" && !isNaN(cell)) ? cells.map(Number) : cells;
    const sorted = [...keys].sort((a, b) => sign * (a < b ? -1 : a > b ? 1 : 0));
    assert.deepStrictEqual(keys, sorted, `${table} sorted by column ${column}`);
  }
}

async function tour(browser, name, viewport, dark) {
  const { page, wrong, shoot } = await open(browser, name, viewport, dark);
  const phone = viewport.width < 600;
  const fits = async (what) => {
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${what} is ${wide} pixels too wide`);
  };
  await page.goto(url("index.html"));
  assert.match(await title(page), /\d+ regressions?/);
  await fits("overview");
  await shoot("overview");
  if (!phone) {
    await sort(page, "changes", 1);
    await sort(page, "changes", 2);
  }

  // From the overview to what regressed most, and to the run it began with.
  await page.goto(url("index.html"));
  const metric = await page.$eval("#changes .regressed a", (link) => link.textContent);
  await follow(page, "#changes .regressed a");
  assert.strictEqual(await title(page), metric);
  await shoot("metric");
  await hover(page);
  await fits("metric");
  await follow(page, 'a[href*="run/"]');
  assert.match(await title(page), /^Run /);
  await fits("run");

  await follow(page, 'nav a[href$="metrics.html"]');
  await filter(page, "metrics", "latency ctx_512");
  await sort(page, "metrics", 1);
  await fits("metrics");

  // A run with samples.
  await page.goto(url("run/real.html"));
  await hover(page);
  await fits("run with samples");
  await page.$eval("#latency", (heading) => heading.scrollIntoView());
  await shoot("run");

  for (const other of ["engines", "speed", "index"]) {
    await follow(page, `nav a[href$="${other}.html"]`);
    await fits(other);
    if (other !== "index") await shoot(other);
  }
  assert.deepStrictEqual(wrong, [], "console errors or network");
  console.log(`ok   ${name}: overview (sort) → metric (hover) → run, metrics (filter, sort), run (hover), engines, speed`);
  await page.close();
}

// Every page opens without errors, no text of the input has become markup, every link leads somewhere.
async function crawl(browser) {
  const { page, wrong } = await open(browser, "crawl", { width: 1280, height: 900 }, false);
  const waiting = [url("index.html")];
  const seen = new Set(waiting);
  let links = 0;
  while (waiting.length > 0) {
    const here = waiting.pop();
    await page.goto(here);
    const found = await page.evaluate(() => ({
      links: [...document.querySelectorAll("a")].map((link) => link.href),
      foreign: document.querySelectorAll("img, iframe, object, b img, [onerror]").length,
      scripts: [...document.scripts].filter((one) => /alert/.test(one.textContent) && one.type !== "application/json").length,
    }));
    assert.strictEqual(found.foreign + found.scripts, 0, `markup of the input in ${here}`);
    for (const link of found.links) {
      links += 1;
      const target = link.split("#")[0];
      assert.ok(fs.existsSync(new URL(target)), `${here} links to ${target}`);
      if (!seen.has(target)) waiting.push(target);
      seen.add(target);
    }
  }
  const pages = fs.readdirSync(site, { recursive: true }).filter((name) => name.endsWith(".html"));
  assert.strictEqual(seen.size, pages.length, "a page that no other leads to");
  assert.deepStrictEqual(wrong, [], "console errors or network");
  console.log(`ok   ${seen.size} pages, ${links} links, all lead somewhere; no script of the input ran`);
}

(async () => {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"],
  });
  const desktop = { width: 1280, height: 900 };
  const phone = { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
  try {
    for (const dark of [false, true]) {
      await tour(browser, dark ? "desktop-dark" : "desktop", desktop, dark);
      await tour(browser, dark ? "phone-dark" : "phone", phone, dark);
    }
    await crawl(browser);
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error("FAIL " + error.message);
  process.exit(1);
});
