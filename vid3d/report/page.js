"use strict";
const data = JSON.parse(document.getElementById("page-data").textContent);
const panel = document.getElementById("clips");
const AT_ONCE = 24;

function make(tag, kind, ...children) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

function picture(id) {
  const shown = document.querySelector(`figure.clip[data-video="${id}"] img`);
  const source = shown ? shown.src : data.strips[id];
  if (!source) return make("div", "still", "left out");
  const image = make("img");
  image.src = source;
  image.alt = data.videos[id][0];
  return image;
}

function card(id) {
  const [name, , , probabilities] = data.videos[id];
  const bars = probabilities.map(([k, p]) => {
    const bar = make("span", "bar-of");
    bar.style.setProperty("--share", p);
    return make("li", "", make("span", "", data.classes[k]), make("span", "", percent(p)), bar);
  });
  return make("figure", "clip", picture(id), make("figcaption", "", make("span", "name", name), make("ul", "", ...bars)));
}

function percent(p) {
  if (p > 0.995) return ">99%";
  return p < 0.005 ? "<1%" : `${Math.round(100 * p)}%`;
}

function open(cell) {
  document.querySelectorAll(".cell.chosen").forEach((one) => one.classList.remove("chosen"));
  cell.classList.add("chosen");
  const [truth, answer] = cell.dataset.cell.split(",");
  const { ids, total } = data.cells[cell.dataset.cell];
  const right = `${data.classes[truth]}, answered rightly`;
  const wrong = `${data.classes[truth]}, answered ${data.classes[answer]}`;
  const title = make("h3", "", truth === answer ? right : wrong);
  const grid = make("div", "grid");
  const count = make("p", "about");
  const more = make("button", "more", "Show more");
  let shown = 0;
  more.addEventListener("click", next);
  function next() {
    grid.append(...ids.slice(shown, shown + AT_ONCE).map(card));
    shown = Math.min(shown + AT_ONCE, ids.length);
    more.hidden = shown === ids.length;
    const rest = total > ids.length ? `; ${total - ids.length} more are in predictions.csv` : "";
    count.textContent = `${shown} of ${total} video${total === 1 ? "" : "s"}, the surest answers first${rest}`;
  }
  next();
  panel.replaceChildren(title, count, grid, more);
  panel.scrollIntoView({ block: "nearest", behavior: "auto" });
}

document.addEventListener("click", (event) => {
  const cell = event.target.closest("[data-cell]");
  if (cell) open(cell);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  const cell = event.target.closest("[data-cell]");
  if (!cell) return;
  event.preventDefault();
  open(cell);
});
