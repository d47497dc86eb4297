"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head));
  }
}

function sortBy(table, head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, cell: row.cells[head.cellIndex] }));
  const known = rows.filter(({ cell }) => !["", "\u2013"].includes(cell.textContent.trim()));
  const unknown = rows.filter((entry) => !known.includes(entry));
  const numeric = known.every(({ cell }) => cell.dataset.sort !== undefined);
  const compare = numeric
    ? (a, b) => Number(a.cell.dataset.sort) - Number(b.cell.dataset.sort)
    : (a, b) => a.cell.textContent.localeCompare(b.cell.textContent, "en", { numeric: true });
  known.sort((a, b) => (descending ? -compare(a, b) : compare(a, b)));
  table.tBodies[0].append(...[...known, ...unknown].map(({ row }) => row)); // what is not known stays last
}

const folded = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    folded.push(details);
  }
});
addEventListener("afterprint", () => {
  for (const details of folded.splice(0)) details.open = false;
});

function unfold(hash) {
  const place = document.getElementById(hash.slice(1));
  for (let around = place?.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
}
for (const link of document.querySelectorAll("main a[href^='#']")) link.addEventListener("click", () => unfold(link.hash));
addEventListener("hashchange", () => unfold(location.hash));
unfold(location.hash);

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? seen.add(entry.target) : seen.delete(entry.target);
  const current = [...document.querySelectorAll("main > section")].find((section) => seen.has(section));
  for (const [id, link] of links) {
    if (current && id === current.id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}, { rootMargin: "-10% 0px -60% 0px" });
for (const section of document.querySelectorAll("main > section")) observer.observe(section);
