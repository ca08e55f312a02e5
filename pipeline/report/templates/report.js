"use strict";

function show(compare, value) {
  const range = compare.querySelector(".wipe");
  if (!range) return;
  range.value = value;
  tell(range);
  compare.style.setProperty("--split", `${range.value}%`);
}

function tell(range) {
  range.setAttribute("aria-valuetext", `${range.value} % source`);
}

function startWiping() {
  const all = document.querySelector(".wipe-all");
  const rest = () => (all ? all.value : 0);
  for (const compare of document.querySelectorAll(".compare:has(.wipe)")) {
    const range = compare.querySelector(".wipe");
    range.addEventListener("input", () => show(compare, range.value));
    compare.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse") return;
      const box = compare.getBoundingClientRect();
      show(compare, Math.round((100 * (event.clientX - box.left)) / box.width));
    });
    compare.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") show(compare, inSheet(compare) ? rest() : 0);
    });
  }
  if (!all) return;
  all.addEventListener("input", () => {
    tell(all);
    for (const compare of document.querySelectorAll(".sheet .compare")) show(compare, all.value);
  });
}

function inSheet(compare) {
  return compare.closest(".sheet") !== null;
}

function startFiltering(tools) {
  const tiles = [...document.querySelectorAll(".tile")];
  const count = tools.querySelector("output");
  const empty = document.querySelector("#cutouts .empty");
  const chosen = (name) => tools.querySelector(`[name=${name}]:checked, select[name=${name}]`)?.value;
  const apply = () => {
    const flag = chosen("flag");
    const partition = chosen("partition");
    const engine = chosen("engine");
    let shown = 0;
    for (const tile of tiles) {
      const fits =
        (!flag || tile.dataset.flags.split(" ").includes(flag)) &&
        (!partition || tile.dataset.partition === partition) &&
        (!engine || tile.dataset.engine === engine);
      tile.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${tiles.length} shown`;
    empty.hidden = shown > 0;
  };
  tools.addEventListener("change", apply);
  for (const link of document.querySelectorAll("[data-flag]")) {
    link.addEventListener("click", () => {
      tools.querySelector(`[name=flag][value="${link.dataset.flag}"]`).checked = true;
      apply();
    });
  }
  tools.hidden = false;
  apply();
}

startWiping();
const tools = document.querySelector(".tools");
if (tools) startFiltering(tools);
