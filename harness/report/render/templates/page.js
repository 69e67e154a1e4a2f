"use strict";

// A header's button sorts its table by that column: numbers by the first in a cell, "–" last either way; equal rows
// keep their order.
const NUMBER = /[-+]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?/i;
const WORDS = new Intl.Collator("en", { numeric: true });

function sortKey(row, column, numeric) {
  const cell = row.cells[column], text = cell.dataset.sort ?? cell.textContent.trim();
  if (text === "" || text === "–") return null;
  if (!numeric) return text;
  const found = text.match(NUMBER);
  return found && Number(found[0].replaceAll(",", ""));
}

function sortTable(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const head = heads[column], body = table.tBodies[0], numeric = head.classList.contains("number");
  const order = head.ariaSort === "ascending" ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => [sortKey(row, column, numeric), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : WORDS.compare(a, b));
  });
  body.append(...rows.map(([, row]) => row));
  for (const other of heads) other.ariaSort = other === head ? order : "none";
}

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortTable(table, column));
    head.append(button);
    head.ariaSort = "none";
  });
}

// A figure's link shows it as large as its pixels allow; where there is no dialog, the link opens the file.
const dialog = document.querySelector("dialog");

function enlarge(link) {
  const figure = link.closest("figure"), image = link.querySelector("img").cloneNode();
  image.width = Math.min(2 * image.width, Math.max(window.innerWidth - 32, image.width));
  image.removeAttribute("height");
  image.classList.toggle("chart", link.classList.contains("chart"));
  const view = dialog.querySelector(".view"), words = document.createElement("p");
  words.textContent = figure.querySelector("figcaption").textContent;
  dialog.querySelector("h2").textContent = link.dataset.title;
  view.replaceChildren(image, words);
  dialog.showModal();
  view.scrollTo(0, 0);
}

if (dialog) {
  for (const link of document.querySelectorAll("a.zoom")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      enlarge(link);
    });
  }
  dialog.querySelector("button").addEventListener("click", () => dialog.close());
}

// Each block of code has a button that copies it; where the clipboard is closed, the text is selected.
for (const code of document.querySelectorAll("main pre")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
  code.before(button);
}

// A figure of several variants shows one at a time. One choice holds for the whole page.
const groups = [...document.querySelectorAll(".variants")];

function choose(variant) {
  for (const group of groups) {
    const figures = [...group.querySelectorAll("figure")];
    if (variant && !figures.some((figure) => figure.dataset.variant === variant)) continue;
    for (const figure of figures) figure.classList.toggle("chosen", !variant || figure.dataset.variant === variant);
    group.classList.toggle("all", !variant);
    group.querySelector("select").value = variant;
  }
}

for (const group of groups) {
  const label = document.createElement("label"), select = document.createElement("select");
  for (const figure of group.querySelectorAll("figure")) select.add(new Option(figure.dataset.variant));
  select.add(new Option("all, side by side", ""));
  select.addEventListener("change", () => choose(select.value));
  label.className = "choice";
  label.append("Variant: ", select);
  group.insertBefore(label, group.querySelector("figure"));
  group.classList.add("choosing");
}
if (groups.length) choose(groups[0].querySelector("figure").dataset.variant);

// A value of a figure is shown under the pointer.
for (const svg of document.querySelectorAll(".zoom svg")) {
  const tip = document.createElement("div");
  tip.className = "tip";
  for (const circle of svg.querySelectorAll("circle")) {
    const title = circle.querySelector("title"), text = title.textContent;
    title.remove();
    circle.addEventListener("pointerenter", () => {
      const box = circle.getBoundingClientRect();
      tip.textContent = text;
      document.body.append(tip);
      const right = document.documentElement.clientWidth - tip.offsetWidth - 8;
      tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, right))}px`;
      tip.style.top = `${box.top - tip.offsetHeight - 6 + window.scrollY}px`;
    });
    circle.addEventListener("pointerleave", () => tip.remove());
  }
}

// A link to a place in a folded section opens the section; a heading's sign also copies its address.
function reveal() {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  for (let one = place.closest("details"); one; one = one.parentElement.closest("details")) one.open = true;
  place.scrollIntoView();
}

window.addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  if (link.hash === location.hash) reveal();
  if (link.classList.contains("anchor")) navigator.clipboard?.writeText(link.href).catch(() => {});
});
reveal();

// What is folded on the screen is printed.
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("main details:not([open])")];
  for (const details of folded) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});
