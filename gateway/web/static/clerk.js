// The clerk's page: the server renders the pieces, this keeps them true.
import * as arrival from "./arrival.js";
import { act, mint, send } from "./commands.js";
import { Bell } from "./sound.js";
import { Stream } from "./stream.js";
import { clock, span, text, urgency, waited } from "./text.js";

const $ = (id) => document.getElementById(id);
const floor = $("floor");
const now = () => stream.now();

let show = "mine";
let selected = floor.dataset.selected;
let linked = null;
let seenAt = Date.now(); // when what is shown was fetched
let drawing = null;
let again = false;
let busy = false; // a command is under way
let refocus = false; // its button, now gone, had the focus
let leaving = false;
const dossiers = new Map(); // visit -> the promise of its dossier's HTML
const shown = new Set(); // alert/attempt already reported as delivered

const bell = new Bell($("sound"), showSound);
const stream = new Stream({
  types: floor.dataset.events.split(" "),
  after: Number(floor.dataset.seq),
  epoch: floor.dataset.epoch,
  onEvent: (type, event) => {
    if (type === "soglia.person.erased.v1") dossiers.clear();
    redraw();
  },
  onLink: (up) => {
    if (up && linked === false) redraw();
    linked = up;
    showLink();
  },
  onRestored: () => location.reload(),
  onRejected: leave,
});

stream.skew = Date.parse(floor.dataset.now) - Date.now();

function redraw() {
  if (drawing) {
    again = true;
    return drawing;
  }
  drawing = draw()
    .catch(() => {}) // offline: the banner says so, and the next link draws again
    .finally(() => {
      drawing = null;
      if (again) {
        again = false;
        redraw();
      }
    });
  return drawing;
}

async function draw() {
  const before = new Set(waitingForMe().map((row) => row.dataset.visit));
  replace($("queue"), await piece(`/clerk/queue?show=${show}&selected=${encodeURIComponent(selected)}`));
  seenAt = Date.now();
  for (const row of waitingForMe()) if (!before.has(row.dataset.visit)) announce(row);
  const over = selected && !rowOf(selected) && $("visitor")?.dataset.state !== "closed" && show === "store";
  if (!selected || over || $("visitor")?.dataset.state === "closed") choose();
  await drawCard();
  afterwards();
}

async function drawCard() {
  const visit = selected;
  const row = rowOf(visit);
  const card = $("visitor");
  if (!visit) return;
  if (card && card.dataset.visit === visit && row && row.dataset.seq === card.dataset.seq) return;
  let html;
  try {
    html = await piece(`/clerk/visits/${encodeURIComponent(visit)}`);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    html = CALM; // forgotten by the gateway
  }
  if (visit !== selected) return; // another row was touched meanwhile
  if (html === CALM) selected = "";
  replace($("card"), html);
}

// What follows from whatever is on the screen now.
function afterwards() {
  tick();
  reportDelivered();
  bell.until(waitingForMe().length > 0);
  for (const row of document.querySelectorAll(".row")) {
    row.setAttribute("aria-current", String(row.dataset.visit === selected));
  }
  openDossier();
}

async function piece(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (answer.status === 401) leave();
  if (!answer.ok) throw Object.assign(new Error(path), { status: answer.status });
  return answer.text();
}

function leave() {
  if (leaving) return;
  leaving = true;
  location.assign("/clerk/sign-in");
}

// The pieces come escaped from our own server; the focus stays where it was.
function replace(place, html) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const key = focused?.id || null;
  const lost = refocus && place === $("card");
  place.innerHTML = html;
  if (lost) refocus = false;
  if (focused || lost) (key && $(key) ? $(key) : place.querySelector(".actions .primary") ?? place).focus({ preventScroll: true });
}

const rowOf = (visit) => (visit ? $(`row-${visit}`) : null);
const waitingForMe = () => [...document.querySelectorAll(".row.waiting")].filter((row) => row.dataset.alerts.trim());

function choose() {
  const next = document.querySelector(".row.waiting") ?? document.querySelector(".row.mine");
  if (next) selected = next.dataset.visit;
}

function announce(row) {
  const name = row.querySelector(".row-name").textContent.trim();
  const line = row.querySelector(".row-line").textContent.replace(/\s+/g, " ").trim();
  $("announce").textContent = text.arrived(name, line);
}

function reportDelivered() {
  if (document.hidden) return;
  for (const row of waitingForMe()) {
    for (const key of row.dataset.alerts.trim().split(/\s+/)) {
      if (shown.has(key)) continue;
      shown.add(key);
      act(row.dataset.visit, { action: "delivered", alert: key.split("/")[0] });
    }
  }
}

async function openDossier() {
  const card = $("visitor");
  const visit = card?.dataset.visit;
  if (!card || visit !== selected || card.dataset.dossier !== "open" || card.dataset.state === "closed") return;
  if (!dossiers.has(visit)) dossiers.set(visit, piece(`/clerk/visits/${encodeURIComponent(visit)}/dossier`));
  let html;
  try {
    html = await dossiers.get(visit); // asked for once: every view is written down
  } catch {
    dossiers.delete(visit);
  }
  if ($("visitor")?.dataset.visit !== visit) return;
  if (html === undefined) $("dossier").textContent = text.dossierFailed;
  else if ($("dossier").innerHTML !== html) $("dossier").innerHTML = html;
}

async function command(button) {
  const visit = $("visitor").dataset.visit;
  const { action, outcome, reason } = button.dataset;
  const label = button.textContent;
  busy = true;
  refocus = document.activeElement === button;
  for (const each of $("visitor").querySelectorAll(".actions button")) each.disabled = true;
  button.textContent = text.sending;
  const answer = await act(visit, { action, outcome, reason }, () => (button.textContent = text.waitingForGateway));
  busy = false;
  if (!answer.ok) {
    toast(answer.body.detail ?? text.refused);
    button.textContent = label;
    for (const each of $("visitor")?.querySelectorAll(".actions button") ?? []) each.disabled = false;
  }
  if (answer.ok && ["done", "not_here", "refuse"].includes(action)) {
    dossiers.delete(visit);
    if (selected === visit) selected = "";
  }
  await redraw();
  if (!selected && !rowOf(selected)) replace($("card"), CALM);
}

function tick() {
  for (const wait of document.querySelectorAll(".wait")) {
    const seconds = Math.max(0, Math.floor((now() - Date.parse(wait.dataset.since)) / 1000));
    wait.textContent = waited(seconds);
    wait.dataset.urgency = urgency(seconds);
  }
  $("age").textContent = text.dataAge(clock(linked ? now() : seenAt + stream.skew, floor.dataset.zone));
  showLink();
}

function showLink() {
  const age = Date.now() - stream.heardAt;
  $("link").dataset.state = linked === null ? "connecting" : linked ? "live" : "offline";
  $("link-text").textContent =
    linked === null ? text.connecting : linked ? text.live(Math.round(age / 1000)) : text.offlineShort(span(Date.now() - seenAt));
  const banner = $("banner");
  if (banner.hidden === (linked === false)) banner.hidden = linked !== false;
  const sentence = linked === false ? text.offline(clock(seenAt + stream.skew, floor.dataset.zone)) : "";
  if (banner.textContent !== sentence) banner.textContent = sentence;
}

function showSound(on) {
  $("sound").textContent = on ? text.soundOn : text.soundOff;
  $("sound").setAttribute("aria-pressed", String(on));
}

function toast(sentence) {
  $("toast").textContent = sentence;
  $("toast").hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => ($("toast").hidden = true), 6000);
}

const CALM = document.getElementById("calm").innerHTML;

$("queue").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  selected = row.dataset.visit;
  drawCard().then(afterwards, () => {});
});
$("card").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || busy) return;
  if (button.id === "done") {
    button.setAttribute("aria-expanded", "true");
    $("outcomes").hidden = false;
    $("outcomes").querySelector("button").focus();
  } else if (button.dataset.action) command(button);
});
for (const choice of document.querySelectorAll("[data-show]")) {
  choice.addEventListener("click", () => {
    show = choice.dataset.show;
    for (const each of document.querySelectorAll("[data-show]")) each.setAttribute("aria-pressed", String(each === choice));
    redraw();
  });
}
$("duty")?.addEventListener("change", async (event) => {
  const answer = await send("PUT", "/api/v1/clerks/me/status", { id: mint(), status: event.target.value });
  if (!answer.ok) toast(answer.body.detail ?? text.refused);
});
document.addEventListener("visibilitychange", reportDelivered);
arrival.install({
  onOpened: (visit) => {
    selected = visit;
    redraw();
  },
  onProblem: toast,
});
setInterval(tick, 1000);
afterwards();
