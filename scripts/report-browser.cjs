"use strict";
// See scripts/report-browser.
const assert = require("node:assert");
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
  const shoot = (what, full) => page.screenshot({ path: path.join(shots, `${what}-${name}.png`), fullPage: !!full });
  return { page, wrong, shoot };
}

const follow = (page, selector) => Promise.all([page.waitForNavigation(), page.click(selector)]);
const texts = (page, selector) => page.$$eval(selector, (all) => all.map((one) => one.textContent.trim()));

async function hover(page) {
  const plots = await page.$$("figure svg");
  assert.ok(plots.length > 0, "no plot");
  const plot = plots[0];
  await plot.scrollIntoView();
  // The first point, in pixels of the window.
  const place = await plot.evaluate((svg) => {
    const data = JSON.parse(svg.parentElement.querySelector("script").textContent);
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const point = data[0].points[0];
    return [box.left + point[0] * scale, box.top + point[1] * scale, point[2]];
  });
  await page.mouse.move(place[0], place[1]);
  const tip = await plot.evaluate((svg) => {
    const tip = svg.parentElement.querySelector(".tip");
    return tip.hidden ? null : tip.textContent;
  });
  assert.ok(tip && tip.includes(place[2]), `hover shows ${tip}, not ${place[2]}`);
}

async function tour(browser, name, viewport, dark) {
  const { page, wrong, shoot } = await open(browser, name, viewport, dark);
  const fits = async (what) => {
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${what} is ${wide} pixels too wide`);
  };
  await page.goto(url("index.html"));
  assert.strictEqual(await page.$eval("h1", (h) => h.textContent), "Overview");
  await fits("overview");
  await shoot("overview");

  await follow(page, 'nav a[href="metrics.html"]');
  const all = (await page.$$("#metrics tbody tr")).length;
  await page.type("input[type=search]", "kv growth used");
  const left = await texts(page, "#metrics tbody tr:not([hidden]) td:first-child");
  assert.ok(left.length > 0 && left.length < all, `the filter leaves ${left.length} of ${all}`);
  assert.ok(left.every((text) => text.includes("kv.growth")), left.join());
  const head = "#metrics thead th:first-child button";
  for (const sign of [1, -1]) {
    await page.click(head);
    const names = (await texts(page, "#metrics tbody td:first-child")).map((text) => text.toLowerCase());
    const sorted = [...names].sort((a, b) => sign * (a < b ? -1 : a > b ? 1 : 0));
    assert.deepStrictEqual(names, sorted, "sorted by name");
  }
  await fits("metrics");

  await follow(page, "#metrics tbody tr:not([hidden]) a");
  assert.ok((await page.$eval("h1", (h) => h.textContent)).startsWith("kv.growth"));
  await hover(page);
  await fits("metric");
  await shoot("metric");

  await follow(page, '#latest a[href*="run/"]');
  assert.ok((await page.$eval("h1", (h) => h.textContent)).startsWith("Run "));
  await fits("run");
  await hover(page);
  await shoot("run");
  await shoot("run-full", true);

  for (const other of ["engines", "speed", "index"]) {
    await follow(page, `nav a[href$="${other}.html"]`);
    await fits(other);
    await shoot(other);
  }
  assert.deepStrictEqual(wrong, [], "console errors or network");
  console.log(`ok   ${name}: overview → metrics (filter, sort) → metric (hover) → run (hover) → engines → speed`);
}

(async () => {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"],
  });
  try {
    await tour(browser, "desktop", { width: 1280, height: 900 }, false);
    await tour(browser, "desktop-dark", { width: 1280, height: 900 }, true);
    await tour(browser, "phone", { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }, false);
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error("FAIL " + error.message);
  process.exit(1);
});
