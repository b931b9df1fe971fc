// The page of reports: filters, keys, and the evidence of the cell that is chosen.
// What servers have sent is put into text nodes alone, so it never becomes markup.
"use strict";

const reports = JSON.parse(document.getElementById("data").textContent);
const panel = document.getElementById("evidence");
const cells = [...document.querySelectorAll("td button")];
const rows = [...document.querySelectorAll("tr.rule")];
const signs = { pass: "✓", fail: "✗", warn: "!", skip: "–", blocked: "B", error: "E", flaky: "~" };
let open = null;

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// The evidence.

function show(cell, focus) {
  const report = reports[cell.dataset.report];
  const outcome = report.outcomes.find((one) => one.rule === cell.dataset.rule);
  if (open) open.removeAttribute("aria-expanded");
  open = cell;
  cell.setAttribute("aria-expanded", "true");
  const close = make("button", "", "Close");
  close.type = "button";
  close.addEventListener("click", hide);
  panel.replaceChildren(
    make("h2", "", badge(outcome.verdict), `${outcome.rule}, ${report.server}`, close),
    make("p", "sentence", outcome.sentence),
    list([
      ["level", outcome.level.toUpperCase()],
      ["reason", outcome.reason && outcome.reason.text],
      ["why", outcome.intent],
      ["look at", outcome.verdict === "pass" ? "" : outcome.look_at],
      ["source", outcome.source],
      ["took", `${milliseconds(outcome.elapsed)} ms`],
      ["again", make("code", "", `${report.again} ${outcome.rule}`)],
    ]),
    ...outcome.cases.map(evidence),
  );
  panel.hidden = false;
  panel.scrollTop = 0;
  history.replaceState(null, "", `#${outcome.rule}@${cell.dataset.report}`);
  if (focus) panel.focus();
}

function hide() {
  if (!open) return;
  panel.hidden = true;
  open.removeAttribute("aria-expanded");
  open.focus();
  open = null;
  history.replaceState(null, "", location.pathname + location.search);
}

function badge(word) {
  return make("span", `sign ${word}`, signs[word] || "?");
}

function list(pairs) {
  const shown = pairs.filter(([, value]) => value);
  const entries = shown.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]);
  return make("dl", "", ...entries);
}

function evidence(one) {
  const details = make("details", "", make("summary", "", badge(one.result), one.name));
  details.open = one.result !== "pass";
  const kinds = { accept: "has to be accepted", refuse: "has to be refused" };
  details.append(list([["kind", kinds[one.kind]], ["expected", one.expected], ["got", one.got]]));
  if (one.trace.length > 0) details.append(make("pre", "", ...one.trace.flatMap(event)));
  return details;
}

function event(one) {
  const [kind, what] = Object.entries(one.what)[0];
  const sign = { sent: ">", received: "<", note: "*" }[kind];
  const at = milliseconds(one.at).padStart(10);
  const words = `${at} ms #${one.connection} ${sign} `;
  const stamp = make("span", "at", words);
  const margin = `\n${" ".repeat(words.length)}`;
  if (kind === "note") return [stamp, make("span", "note", what), "\n"];
  const lines = what.text.split(/(?<=\\n)/);
  const text = lines.flatMap((line, at) => (at === 0 ? escapes(line) : [margin, ...escapes(line)]));
  const short = what.text.length < what.bytes ? [`${margin}(${what.bytes} bytes in all)`] : [];
  return [stamp, make("span", kind, ...text, ...short), "\n"];
}

// Escapes stand back, so that what they separate can be read.
function escapes(line) {
  const parts = line.split(/(\\(?:[rnt'"\\]|x[0-9a-f]{2}))/);
  return parts.map((part, at) => (at % 2 ? make("span", "escape", part) : part));
}

function milliseconds(time) {
  return (time.secs * 1e3 + time.nanos / 1e6).toFixed(3);
}

// The filters.

function filter() {
  const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const family = document.getElementById("family").value;
  const level = document.getElementById("level").value;
  const chosen = [...document.querySelectorAll("[name=verdict]:checked")].map((box) => box.value);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const verdicts = [...row.querySelectorAll("button")].map((cell) => cell.dataset.verdict);
    const fits =
      words.every((word) => text.includes(word)) &&
      (!family || row.parentElement.dataset.family === family) &&
      (!level || row.dataset.level === level) &&
      (chosen.length === 0 || verdicts.some((verdict) => chosen.includes(verdict)));
    row.hidden = !fits;
    shown += fits;
  }
  for (const body of document.querySelectorAll("tbody")) {
    body.hidden = !body.querySelector("tr.rule:not([hidden])");
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length} rules`;
}

// The keys: arrows move among the cells, Enter opens one, Escape closes it.

function move(cell, key) {
  const row = cell.closest("tr");
  const visible = rows.filter((one) => !one.hidden);
  const column = cell.closest("td").cellIndex;
  const step = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (step) {
    for (let at = visible.indexOf(row) + step; visible[at]; at += step) {
      const next = visible[at].cells[column].querySelector("button");
      if (next) return next;
    }
    return null;
  }
  const buttons = [...row.querySelectorAll("button")];
  const at = buttons.indexOf(cell) + { ArrowLeft: -1, ArrowRight: 1 }[key];
  return buttons[at] || null;
}

document.querySelector(".filters").addEventListener("input", filter);
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
for (const cell of cells) {
  cell.addEventListener("click", (event) => show(cell, event.detail === 0));
  cell.addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    const next = move(cell, event.key);
    if (!next) return;
    next.focus();
    if (open) show(next, false);
  });
}
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());

filter();
const [rule, report] = decodeURIComponent(location.hash.slice(1)).split("@");
const linked = cells.find((one) => one.dataset.rule === rule && one.dataset.report === report);
if (linked) {
  show(linked, false);
  linked.scrollIntoView({ block: "center" });
}
