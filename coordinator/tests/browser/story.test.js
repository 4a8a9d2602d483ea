// The dashboard as people use it, from the empty fleet to the comparison: a real browser, coordinator, agent and
// worker. It finds the programs in target/debug (MLX_FLEET_PROGRAMS), Chromium in PATH (CHROMIUM), and leaves
// pictures of every page and the logs in target/browser (MLX_FLEET_BROWSER_OUT).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Fleet } from "./fleet.js";
import { Browser, withoutReload } from "./page.js";

const out = process.env.MLX_FLEET_BROWSER_OUT ?? fileURLToPath(new URL("../../../target/browser", import.meta.url));

// Long enough to lose the agent in the midst of it.
const PLAN = `name = "story"

[protocol]
launches = 8
iterations = 2
min_region = "100ms"
warmup_max_iterations = 3
gate_timeout = "0s"
canary = false
cooldown_max = "0s"

[[model]]
source = "synthetic:nano-llama"

[suite.prefill]
prompt_tokens = [64]

[suite.decode]
new_tokens = [16]
`;

const SIMULATED = `name = "simulated story"

[machines]
simulated = true

[protocol]
launches = 4

[[model]]
source = "synthetic:nano-llama"

[suite.prefill]
prompt_tokens = [64, 128]

[suite.decode]
new_tokens = [16]
`;

let fleet, browser, page, other;

before(async () => {
  fleet = new Fleet();
  browser = await Browser.start(await fleet.serve(), out);
  const reader = await browser.reader({ permissions: ["clipboard-read", "clipboard-write"] });
  page = await reader.newPage();
  other = await reader.newPage();
});

after(async () => {
  await browser?.chromium.close();
  await fleet?.stop(out);
});

let broken = false;

// A story does not go on after a step that failed.
function step(name, act) {
  test(name, { timeout: 600_000 }, async (t) => {
    if (broken) return t.skip("a step before it failed");
    broken = true;
    try {
      await act();
      assert.deepEqual(browser.complaints, []);
      broken = false;
    } catch (error) {
      await browser.photograph("failed").catch(console.error);
      throw error;
    }
  });
}

step("a stranger is led to the sign-in", async () => {
  await page.goto("/runs");
  await heading(page, "Sign in");
  await browser.look(page, "sign-in");
});

step("a wrong token is refused with the reason", async () => {
  browser.expected = /status of 401/;
  await signIn(page, "hunter2");
  await page.getByRole("alert").getByText("a token begins with").waitFor();
  await signIn(page, fleet.token.replace(/[0-9a-f]{64}/, (secret) => [...secret].reverse().join("")));
  await page.getByRole("alert").getByText("unknown, expired or revoked").waitFor();
  await browser.look(page, "sign-in-refused");
  browser.expected = /^$/;
});

step("an empty fleet says what to do next", async () => {
  await signIn(page, fleet.token);
  // The page that was asked for before the sign-in.
  await heading(page, "No run yet");
  await go(page, place(page, "Fleet"));
  await heading(page, "No machine yet");
  await browser.look(page, "fleet-empty");
  await go(page, place(page, "Compare"));
  await heading(page, "Nothing to compare yet");
  await go(page, place(page, "Explore"));
  await heading(page, "Nothing measured yet");
  await browser.look(page, "explore-empty");
});

step("a machine joins by the line that the page shows, and appears in every tab", async () => {
  const line = await lineFor(1);
  await browser.look(page, "add");
  await go(page, place(page, "Fleet"));
  await other.goto("/");
  await page.getByRole("status").getByText("Live").waitFor();
  await withoutReload([page, other], async () => {
    fleet.startAgent(line);
    for (const tab of [page, other]) await machine(tab, "idle");
  });
  await browser.look(page, "fleet-idle");
});

step("a mistake in a plan is shown at its place", async () => {
  await go(page, place(page, "New run"));
  await browser.look(page, "plan-first");
  await page.getByLabel("Plan").fill(PLAN.replace("iterations", "repetitions"));
  const link = page.getByRole("link", { name: "Line 5, column 1" });
  await link.waitFor();
  await browser.look(page, "plan-mistake");
  await link.click();
  const rest = await page.getByLabel("Plan").evaluate((area) => area.value.slice(area.selectionStart));
  assert.match(rest, /^repetitions = 2/);
});

step("a run's numbers appear as its launches end, in every tab", async () => {
  await submit(PLAN, "2 jobs, 16 launches");
  await other.goto(page.url());
  await withoutReload([page, other], async () => {
    for (const tab of [page, other]) {
      await tab.locator("[id^=number-] [data-label=n]").getByText(/^[2-9]$/).first().waitFor();
    }
  });
});

step("a machine that dies is shown offline, and works on when it is back", async () => {
  await other.goto("/");
  await machine(other, "busy");
  await withoutReload([page, other], async () => {
    await fleet.killAgent();
    await machine(other, "offline");
    await state(page, "active");
    await browser.look(other, "fleet-offline");
    await browser.look(page, "run-active");
    fleet.startAgent();
    await state(page, "succeeded");
    await machine(other, "idle");
  });
  await browser.look(page, "run-ended");
});

step("the report of a run opens", async () => {
  await go(page, page.getByRole("link", { name: "Report", exact: true }));
  await heading(page, "story");
  await browser.look(page, "report");
});

// The tests' worker is not optimised, and what such a one measures is never compared.
step("two runs are compared, and machines of one", async () => {
  await page.goto("/");
  fleet.startSimulation(await lineFor(3), 3);
  await go(page, place(page, "Fleet"));
  await machine(page, "idle", "simulated-00003");
  await submit(SIMULATED, "6 jobs, 36 launches");
  await state(page, "succeeded");
  const baseline = new URL(page.url()).pathname.split("/").at(-1);
  await submit(SIMULATED, "6 jobs, 36 launches");
  await state(page, "succeeded");

  await go(page, page.getByRole("main").getByRole("link", { name: "Compare" }));
  await page.getByLabel("over the baseline").selectOption(baseline);
  await go(page, button(page, "Compare"));
  await compared("simulated-00003");
  await browser.look(page, "compare");

  await go(page, page.getByRole("link", { name: "Machine or chip over another" }));
  await page.getByLabel("Machine or chip", { exact: true }).fill("simulated-00003");
  await page.getByLabel("over machine or chip").fill("simulated-00001");
  await go(page, button(page, "Compare"));
  await compared("simulated-00003 over simulated-00001");
  await browser.look(page, "compare-machines");
});

step("what was measured is a picture to explore", async () => {
  await go(page, place(page, "Explore"));
  await page.getByLabel("Source").selectOption("simulated");
  await go(page, button(page, "Show"));
  await page.getByRole("region", { name: "Picture" }).locator("svg").waitFor();
  await browser.look(page, "explore");
});

step("a statement is answered, and a wrong one explained", async () => {
  await go(page, place(page, "SQL"));
  const statement = page.getByLabel(/^One statement/);
  await statement.fill("select label, count(*) from report.launch where counted group by label");
  await statement.press("Control+Enter");
  await page.getByRole("row", { name: "measured 16" }).waitFor();
  await browser.look(page, "sql");
  await statement.fill("select speed from report.launch");
  await go(page, button(page, "Run"));
  await page.getByRole("alert").getByText('"speed" does not exist').waitFor();
  await browser.look(page, "sql-refused");
});

step("all runs are listed, and filtered", async () => {
  await go(page, place(page, "Runs"));
  const rows = page.locator("tbody tr:visible");
  await rows.nth(2).waitFor();
  await browser.look(page, "runs");
  await page.getByLabel("Label").selectOption("measured");
  await go(page, button(page, "Show"));
  assert.equal(await rows.count(), 1);
  assert.match(page.url(), /label=measured/);
  await browser.look(page, "runs-filtered");
});

step("machines are filtered where they are shown", async () => {
  await go(page, place(page, "Fleet"));
  const rows = page.locator("tbody tr:visible");
  await rows.nth(2).waitFor();
  await page.getByRole("searchbox").fill("simulated-00003");
  await rows.nth(1).waitFor({ state: "detached" });
  assert.equal(await rows.count(), 1);
  // On a phone rows are cards.
  await page.setViewportSize({ width: 390, height: 844 });
  assert.equal(await rows.count(), 1);
});

step("a machine is drained with a reason, and let go on", async () => {
  await go(page, place(page, "Fleet"));
  const row = page.locator("tr[id^=machine-]", { hasText: "simulated-00003" });
  await row.getByText("Actions").click();
  await row.getByPlaceholder("Reason").fill("new disk");
  await browser.look(page, "fleet-actions");
  // Its row changes meanwhile, and what is filled in stays.
  await other.goto("/");
  const there = other.locator("tr[id^=machine-]", { hasText: "simulated-00003" });
  await there.getByText("Actions").click();
  await there.getByPlaceholder(/^room=lab/).fill("room=lab");
  await go(other, button(there, "Label"));
  await there.getByText("room=lab").waitFor();
  await page.getByRole("status").getByText(/^Waiting/).waitFor();
  await go(page, button(row, "Drain"));
  await row.getByText("new disk").waitFor();
  await row.getByText("Actions").click();
  await go(page, button(row, "Resume"));
  await machine(page, "idle", "simulated-00003");
});

step("a reader without script sees the fleet as it is", async () => {
  const plain = await (await browser.reader({ javaScriptEnabled: false })).newPage();
  await plain.goto("/");
  await signIn(plain, fleet.token);
  await machine(plain, "idle", "simulated-00003");
  await browser.look(plain, "without-script", { script: false });
  await plain.context().close();
});

step("a coordinator that is away is told, and its pages go on when it is back", async () => {
  await go(page, place(page, "Fleet"));
  const live = page.getByRole("status").getByText("Live");
  await live.waitFor();
  // So a browser says that nobody answers.
  browser.expected = /net::ERR_/;
  await withoutReload([page], async () => {
    await fleet.stopServing();
    await page.getByRole("status").getByText("does not answer").waitFor();
    await browser.look(page, "fleet-broken");
    await fleet.serve();
    await live.waitFor();
  });
  browser.expected = /^$/;
});

step("who signs out is out, in every tab", async () => {
  await go(page, button(page, "Sign out"));
  await heading(page, "Sign in");
  await other.reload();
  await heading(other, "Sign in");
});

const heading = (where, name) => where.getByRole("heading", { name, exact: true }).waitFor();
const button = (where, name) => where.getByRole("button", { name, exact: true });
const place = (where, name) => where.getByRole("navigation", { name: "Pages" }).getByRole("link", { name });
const state = (where, word) => where.locator("#state").getByText(word, { exact: true }).waitFor();

// To the page that this leads to, be it the same again.
async function go(where, lead) {
  const loaded = where.waitForEvent("load");
  await lead.click();
  await loaded;
}

async function signIn(where, token) {
  await where.getByLabel("Token").fill(token);
  await go(where, button(where, "Sign in"));
}

// What the page shows to join so many machines, by way of the clipboard.
async function lineFor(machines) {
  await go(page, place(page, "Fleet"));
  const form = page.locator("details.add");
  // An empty fleet shows it by itself.
  if (!(await form.evaluate((details) => details.open))) await form.locator("summary").click();
  await page.getByLabel("Machines that may join").fill(String(machines));
  await go(page, button(page, "Show the line for its terminal"));
  await button(page, "Copy").click();
  await button(page, "Copied").waitFor();
  return page.evaluate(() => navigator.clipboard.readText());
}

async function machine(where, word, name = "") {
  await where.locator("tr[id^=machine-]", { hasText: name }).getByText(word, { exact: true }).waitFor();
}

async function submit(plan, verdict) {
  await go(page, place(page, "New run"));
  await page.getByLabel("Plan").fill(plan);
  await page.getByRole("heading", { name: verdict }).waitFor();
  await go(page, button(page, "Submit"));
  await page.locator("#state").waitFor();
}

// With an interval and a verdict.
async function compared(machines) {
  const told = `^${machines} decode.*\\d\\.\\d+ to \\d\\.\\d+\\)? (faster|slower|equivalent|inconclusive)`;
  await page.getByRole("row", { name: new RegExp(told) }).first().waitFor();
}
