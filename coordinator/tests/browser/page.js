// A browser whose pages are watched: what they complain of, whom they ask for anything, whether everybody can
// read them, and how they look.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";

import axe from "axe-core";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
// Of a telephone, a tablet and a desk.
const SIZES = [{ width: 390, height: 844 }, { width: 820, height: 1180 }, { width: 1280, height: 900 }];
const THEMES = ["dark", "light"];
// Longer than anything here takes on two busy cores.
const DEADLINE_MS = 120_000;

export class Browser {
  // What pages said, failed at, or asked of others.
  complaints = [];
  // What they must say, having been refused something.
  expected = /^$/;
  #looks = 0;

  // Pictures go into that folder.
  static async start(origin, pictures) {
    mkdirSync(pictures, { recursive: true });
    const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
    return new Browser(await chromium.launch({ executablePath: program(), args }), origin, pictures);
  }

  constructor(chromium, origin, pictures) {
    this.chromium = chromium;
    this.origin = origin;
    this.pictures = pictures;
  }

  // Somebody with cookies of their own.
  async reader(options = {}) {
    const reader = await this.chromium.newContext({ baseURL: this.origin, ...options });
    reader.setDefaultTimeout(DEADLINE_MS);
    reader.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.#complain(`${message.page()?.url()}: ${message.text()}`);
    });
    reader.on("weberror", (error) => this.#complain(error.error().stack));
    reader.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== this.origin && protocol !== "data:") this.#complain(`asked for ${request.url()}`);
    });
    return reader;
  }

  #complain(words) {
    if (!this.expected.test(words)) this.complaints.push(words);
  }

  // In every size and theme. What judges a page is itself a script.
  async look(page, name, { script = true } = {}) {
    const number = String(++this.#looks).padStart(2, "0");
    // One behind another is drawn only once a second.
    await page.bringToFront();
    for (const size of SIZES) {
      for (const theme of THEMES) {
        const here = `${number}-${name}-${size.width}-${theme}`;
        await page.setViewportSize(size);
        await page.emulateMedia({ colorScheme: theme });
        await page.screenshot({ path: join(this.pictures, `${here}.png`), fullPage: true });
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(width <= size.width, `${here} is ${width} px wide`);
        if (script) assert.deepEqual(await barriers(page), [], here);
      }
    }
  }

  // All that is open.
  async photograph(name) {
    const pages = this.chromium.contexts().flatMap((reader) => reader.pages());
    for (const [i, page] of pages.entries()) {
      await page.screenshot({ path: join(this.pictures, `${name}-${i + 1}.png`) });
    }
  }
}

function program() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const paths = NAMES.flatMap((name) => process.env.PATH.split(delimiter).map((folder) => join(folder, name)));
  return paths.find(existsSync) ?? assert.fail(`no browser: CHROMIUM names none, and none of ${NAMES} is in PATH`);
}

// What keeps somebody from reading or using the page.
async function barriers(page) {
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(axe.source);
  const asked = { runOnly: RULES, resultTypes: ["violations"] };
  const { violations } = await page.evaluate((asked) => axe.run(asked), asked);
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}: ${node.failureSummary}`));
}

// What changes in these pages meanwhile changes in them as they are.
export async function withoutReload(pages, act) {
  for (const page of pages) await page.evaluate(() => { window.isTheSame = true; });
  await act();
  for (const page of pages) assert.ok(await page.evaluate(() => window.isTheSame), `${page.url()} was loaded again`);
}
