// "Somebody is here": a visitor found by name, or a walk-in.
import { mint, send } from "./commands.js";
import { text } from "./text.js";

const $ = (id) => document.getElementById(id);

export function install({ onOpened, onProblem }) {
  const sheet = $("arrival");
  $("arrive").addEventListener("click", () => {
    $("search").reset();
    $("found").replaceChildren();
    sheet.showModal();
    $("search-name").focus();
  });
  $("search").addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await fetch(`/api/v1/visitors?name=${encodeURIComponent($("search-name").value.trim())}`).catch(() => null);
    if (!answer?.ok) return onProblem(text.refused);
    show((await answer.json()).visitors);
  });
  $("walk-in").addEventListener("click", () => open({ zone: $("walk-in-zone").value }));

  function show(found) {
    const buttons = found.map((person) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button";
      button.textContent = person.name || person.visitor;
      button.addEventListener("click", () => open({ visitor: person.visitor }));
      return button;
    });
    if (!buttons.length) {
      const nobody = document.createElement("p");
      nobody.className = "muted";
      nobody.textContent = text.nobodyFound;
      buttons.push(nobody);
    }
    $("found").replaceChildren(...buttons);
  }

  async function open(arrival) {
    sheet.close();
    const answer = await send("POST", "/api/v1/visits", { id: mint(), ...arrival });
    if (!answer.ok) return onProblem(answer.body.detail);
    onOpened(answer.body.visit);
  }
}
