"use strict";
// Tables: a header's button sorts by its column, numbers by `data-v`; what has no value stays below.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
    const column = [...head.parentElement.children].indexOf(head);
    const falls = head.getAttribute("aria-sort") === "ascending";
    const way = falls ? -1 : 1;
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const value = (row) => row.children[column].dataset.v ?? row.children[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return way * (isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y);
    };
    body.append(...[...body.rows].sort(compare));
  });
}
// One architecture brought forward everywhere: while pointed at, or until the next click.
let pinned = null;
const rule = document.head.appendChild(document.createElement("style"));
const show = (subject) => {
  rule.textContent = subject === null ? "" :
    `figure [data-s]:not([data-s="${subject}"]){opacity:.12}` +
    `figure [data-s="${subject}"].line{stroke-width:3}figure text[data-s="${subject}"]{font-weight:700}` +
    `tr[data-s="${subject}"]>*{background:var(--panel)}`;
};
const subjectOf = (event) => event.target.closest?.("[data-s]")?.dataset.s ?? null;
document.addEventListener("pointerover", (event) => event.pointerType === "mouse" && show(subjectOf(event) ?? pinned));
document.addEventListener("click", (event) => {
  if (event.target.closest("summary, button, a")) return;
  const subject = subjectOf(event);
  pinned = subject === pinned ? null : subject;
  show(pinned);
});
document.addEventListener("keydown", (event) => event.key === "Escape" && show((pinned = null)));
