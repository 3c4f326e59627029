// Sorts and filters the cohort. Without it the page shows everything, in the order of the cohort.
"use strict";
(() => {
  const table = document.querySelector("[data-cohort]");
  const body = table.tBodies[0];
  const tools = document.querySelector("[data-tools]");
  const told = document.querySelector("[data-told]");
  const most = document.querySelector("[data-most]");
  const collator = new Intl.Collator("en", { numeric: true });
  const cards = document.querySelectorAll(".card");
  const slides = Array.from(body.rows, (row, place) => ({
    row,
    card: cards[place],
    state: row.dataset.state,
    text: row.dataset.find.toLowerCase(),
    shares: row.dataset.shares.split(","),
  }));

  // What a cell is sorted by: its number where it has one ("" is unknown), else its text.
  const valueOf = (cell) => cell.dataset.value ?? (cell.textContent === "–" ? "" : cell.textContent);

  // What is not known comes last, whichever way the rest is sorted.
  function sortBy(value, compare, direction) {
    const keyed = slides.map((slide) => ({ slide, key: value(slide) }));
    keyed.sort((a, b) => {
      if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
      return direction * compare(a.key, b.key);
    });
    body.append(...keyed.map(({ slide }) => slide.row));
  }

  function unsorted(exceptHead) {
    for (const head of table.tHead.rows[0].cells) {
      if (head !== exceptHead) head.removeAttribute("aria-sort");
    }
  }

  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      unsorted(head);
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      if (most) most.value = "";
      const cell = (slide) => slide.row.cells[head.cellIndex];
      const numbers = slides.some((slide) => cell(slide).dataset.value !== undefined);
      const compare = numbers ? (a, b) => Number(a) - Number(b) : collator.compare;
      sortBy((slide) => valueOf(cell(slide)), compare, up ? 1 : -1);
    });
  }

  most?.addEventListener("change", () => {
    if (most.value === "") return;
    unsorted(null);
    sortBy((slide) => slide.shares[Number(most.value)], (a, b) => Number(a) - Number(b), -1);
  });

  function filter() {
    const words = tools.querySelector("[data-find]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = tools.querySelector("[name=state]:checked").value;
    let shown = 0;
    for (const slide of slides) {
      const fits = (state === "" || slide.state === state) && words.every((word) => slide.text.includes(word));
      slide.row.hidden = slide.card.hidden = !fits;
      shown += fits;
    }
    told.textContent = shown === slides.length ? "" : `${shown} of ${slides.length} slides shown`;
  }

  tools.addEventListener("input", filter);
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.hidden = false;
  filter();
})();
