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
  const view = dialog.querySelector(".view"), words = document.createElement("p");
  words.textContent = figure.querySelector("figcaption").textContent;
  dialog.querySelector("h2").textContent = figure.querySelector("h3").textContent;
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

// What is folded on the screen is printed.
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("main details:not([open])")];
  for (const details of folded) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});
