// Pages work without this. With it they stay as the fleet is, and times are those of the reader's clock.
"use strict";

const main = document.querySelector("main");

function localise(within) {
  const today = new Date().toDateString();
  for (const option of within.querySelectorAll("option[data-at]")) {
    option.title = option.dataset.utc;
    option.text = option.text.replace(option.dataset.utc, new Date(option.dataset.at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }));
  }
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (time.title || Number.isNaN(at.getTime())) continue;
    time.title = time.textContent;
    time.textContent = at.toDateString() === today
      ? at.toLocaleTimeString()
      : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }
}

const able = "a, button, input, select, textarea, summary, [tabindex]";

// What a reader has opened stays open, and the focus where it was.
function put(old, fresh) {
  const open = [...old.querySelectorAll("details")].map((details) => details.open);
  fresh.querySelectorAll("details").forEach((details, i) => { details.open = open[i] ?? false; });
  const place = [...old.querySelectorAll(able)].indexOf(document.activeElement);
  localise(fresh);
  old.replaceWith(fresh);
  if (place >= 0) fresh.querySelectorAll(able)[place]?.focus({ preventScroll: true });
}

function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

// Nobody's words and ticks are torn away: the element comes when they are sent or taken back. What is looked
// for is kept by itself.
function writing(within) {
  const fields = [...within.querySelectorAll("input:not([type=search]), textarea")];
  const chosen = (select) => select.options[select.selectedIndex] !== (select.querySelector("[selected]") ?? select.options[0]);
  return [...within.querySelectorAll("select")].some(chosen) || fields.some((field) => field.type === "checkbox"
    ? field.checked !== field.defaultChecked
    : field.value !== field.defaultValue);
}

function say(words, away = false) {
  const freshness = document.getElementById("freshness");
  if (!freshness || freshness.textContent === words) return;
  freshness.textContent = words;
  freshness.classList.toggle("away", away);
}

// Where something is, so that it is found in a page that has come anew: as the how-manieth of its like in the
// nearest element with an id.
const homeOf = (element) => element.parentElement.closest("[id]");
const inside = (home, like) => [...home.querySelectorAll(like)].filter((element) => homeOf(element) === home);

function placeOf(element, like) {
  const home = homeOf(element);
  return { id: home.id, like, at: inside(home, like).indexOf(element) };
}

function found({ id, like, at }) {
  const home = document.getElementById(id);
  return home && inside(home, like)[at];
}

const waiting = new Map();

// An element that is newer than a page that waits comes after it.
function show(id, html) {
  const old = document.getElementById(id);
  if (waiting.has("") || (old && writing(old))) {
    waiting.delete(id);
    waiting.set(id, html);
    say("Waiting until what is filled in is sent or taken back");
    return;
  }
  waiting.delete(id);
  if (old) put(old, element(html));
}

function showWhole(html) {
  if (writing(main)) {
    waiting.set("", html);
    say("Waiting until what is filled in is sent or taken back");
    return;
  }
  waiting.clear();
  const open = [...main.querySelectorAll("details[open]")].map((details) => placeOf(details, "details"));
  const scrolled = [...main.querySelectorAll(".scroll")].map((area) => [placeOf(area, ".scroll"), area.scrollLeft, area.scrollTop]);
  const asked = [...main.querySelectorAll("input[type=search]")].map((input) => input.value);
  const at = document.activeElement;
  const focused = at !== main && main.contains(at) ? placeOf(at, able) : null;
  main.innerHTML = html;
  prepare(main);
  main.querySelectorAll("input[type=search]").forEach((input, i) => {
    input.value = asked[i] ?? "";
    input.dispatchEvent(new Event("input"));
  });
  for (const place of open) {
    const details = found(place);
    if (details) details.open = true;
  }
  for (const [place, left, top] of scrolled) found(place)?.scrollTo({ left, top, behavior: "instant" });
  if (focused) found(focused)?.focus({ preventScroll: true });
}

// What waits comes when nothing is filled in any more.
function showWaiting() {
  if (waiting.size === 0) return;
  const held = [...waiting];
  waiting.clear();
  say("Live");
  for (const [id, html] of held) {
    if (id) show(id, html);
    else showWhole(html);
  }
}

function liveUrl() {
  const url = new URL(main.dataset.live, location);
  url.searchParams.set("seen", main.dataset.state);
  return url;
}

function follow() {
  let source;
  const begin = () => {
    const mine = source = new EventSource(liveUrl());
    const on = (kind, then) => mine.addEventListener(kind, (event) => {
      // Where one goes on, when one comes again.
      if (event.lastEventId) main.dataset.state = event.lastEventId;
      if (kind === "stale") say("The database does not answer: what is shown may be old. Trying again…", true);
      else say("Live");
      then(event.data);
    });
    on("parts", (data) => JSON.parse(data).forEach(([id, html]) => show(id, html)));
    on("whole", showWhole);
    on("stale", () => {});
    on("again", () => { mine.close(); begin(); });
    mine.onerror = () => {
      say("The coordinator does not answer: what is shown may be old. Trying again…", true);
      mine.close();
      setTimeout(() => { if (source === mine) ask(mine); }, 3000);
    };
  };
  // The page itself says whether one is signed in, and whether it still is there.
  const ask = async (former) => {
    const answer = await fetch(location, { method: "HEAD" }).catch(() => null);
    if (source !== former) return;
    if (answer?.redirected || (answer && !answer.ok && answer.status < 500)) location.reload();
    else begin();
  };
  // Browsers allow few connections to one server: a page that nobody sees needs none.
  document.addEventListener("visibilitychange", () => {
    source?.close();
    source = null;
    if (!document.hidden) begin();
  });
  for (const kind of ["focusout", "input", "change"]) document.addEventListener(kind, () => setTimeout(showWaiting));
  if (!document.hidden) begin();
}

// A plan is checked as it is written.
function check(area) {
  const verdict = document.getElementById("verdict");
  let asked = 0;
  let pause;
  area.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(async () => {
      const mine = ++asked;
      const body = new URLSearchParams({ plan: area.value });
      const answer = await fetch(area.dataset.check, { method: "POST", body }).catch(() => null);
      if (mine !== asked) return;
      const open = verdict.querySelector("details")?.open;
      if (answer?.ok && !answer.redirected) verdict.innerHTML = await answer.text();
      else verdict.textContent = "This could not be checked: the coordinator does not answer, or the session is over. Keep a copy of the plan.";
      const jobs = verdict.querySelector("details");
      if (jobs) jobs.open = open ?? false;
      // Heard is what it comes to, and not every row.
      document.getElementById("told").textContent = (verdict.querySelector("h2") ?? verdict).textContent;
    }, 400);
  });
  verdict.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-line]");
    if (!link) return;
    event.preventDefault();
    const lines = area.value.split("\n").slice(0, link.dataset.line - 1);
    const at = lines.reduce((sum, line) => sum + line.length + 1, 0) + (link.dataset.column - 1);
    area.focus();
    area.setSelectionRange(at, at + 1);
    area.scrollTop = (link.dataset.line - 5) * (area.scrollHeight / area.value.split("\n").length);
  });
}

// Rows whose words do not have what is asked for are hidden; it stays so when rows come anew.
function filter(table) {
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = table.dataset.filter;
  input.setAttribute("aria-label", table.dataset.filter);
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  };
  input.addEventListener("input", apply);
  new MutationObserver(apply).observe(table.tBodies[0], { childList: true });
  table.closest(".scroll").before(input);
}

// Only a page of this machine, or one over TLS, has a clipboard.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

function prepare(within) {
  localise(within);
  within.querySelectorAll("table[data-filter]").forEach(filter);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("#q")) event.target.form.requestSubmit();
});
const area = document.querySelector("textarea[data-check]");
if (area) check(area);
prepare(document);
if (main.dataset.live) follow();
