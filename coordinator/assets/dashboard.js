// Pages work without this. With it they stay as the fleet is, and times are those of the reader's clock.
"use strict";

const main = document.querySelector("main");

function localise(within) {
  const today = new Date().toDateString();
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (time.title || Number.isNaN(at.getTime())) continue;
    time.title = time.textContent;
    time.textContent = at.toDateString() === today
      ? at.toLocaleTimeString()
      : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }
}

// What a reader has opened stays open, and the focus where it was.
function put(old, fresh) {
  const open = [...old.querySelectorAll("details")].map((details) => details.open);
  fresh.querySelectorAll("details").forEach((details, i) => { details.open = open[i] ?? false; });
  const able = "a, button, input, select, textarea, summary, [tabindex]";
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

// Nobody's words are torn away while they are written: the element comes when they are sent or left.
function writing(within) {
  const at = document.activeElement;
  return within.contains(at) && at.matches("input:not([type=checkbox]), textarea") && at.value !== at.defaultValue;
}

const waiting = new Map();

// An element that is newer than a page that waits comes after it.
function show(id, html) {
  const old = document.getElementById(id);
  if (waiting.has("") || (old && writing(old))) {
    waiting.delete(id);
    waiting.set(id, html);
    return;
  }
  waiting.delete(id);
  if (old) put(old, element(html));
}

function showWhole(html) {
  if (writing(main)) {
    waiting.set("", html);
    return;
  }
  waiting.clear();
  const fresh = main.cloneNode(false);
  fresh.innerHTML = html;
  const open = new Set([...main.querySelectorAll("[id] details[open]")].map((d) => d.closest("[id]").id));
  for (const details of fresh.querySelectorAll("[id] details")) details.open = open.has(details.closest("[id]").id);
  const asked = [...main.querySelectorAll("input[type=search]")].map((input) => input.value);
  main.replaceChildren(...fresh.childNodes);
  prepare(main);
  main.querySelectorAll("input[type=search]").forEach((input, i) => {
    input.value = asked[i] ?? "";
    input.dispatchEvent(new Event("input"));
  });
}

function follow() {
  const freshness = document.getElementById("freshness");
  let source;
  const say = (words) => { if (freshness) freshness.textContent = words; };
  const begin = () => {
    source = new EventSource(`${main.dataset.live}?state=${main.dataset.state}`);
    source.onopen = () => say("Live");
    source.onerror = () => {
      say("The coordinator does not answer: what is shown may be old. Trying again…");
      // A browser gives up by itself when the answer is none of an event stream: signed out, perhaps.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
    };
    source.addEventListener("parts", (event) => JSON.parse(event.data).forEach(([id, html]) => show(id, html)));
    source.addEventListener("whole", (event) => showWhole(event.data));
  };
  // Browsers allow few connections to one server: a page that nobody sees needs none.
  document.addEventListener("visibilitychange", () => {
    source?.close();
    if (!document.hidden) begin();
  });
  document.addEventListener("focusout", () => setTimeout(() => {
    const held = [...waiting];
    waiting.clear();
    for (const [id, html] of held) {
      if (id) show(id, html);
      else showWhole(html);
    }
  }));
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
      if (mine !== asked || !answer || answer.redirected) return;
      verdict.innerHTML = await answer.text();
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
