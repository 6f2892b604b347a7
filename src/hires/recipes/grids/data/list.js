// The ranking: every cell as a row, sorted by what is asked for.

function sorted() {
  const cells = [...CELLS];
  if (state.sort === "order") return state.up ? cells.reverse() : cells;
  const sign = state.up ? 1 : -1;
  return cells.sort((first, second) => {
    const [a, b] = [number(first, state.sort), number(second, state.sort)];
    if (a === null || b === null) return (a === null) - (b === null) || first.at - second.at;
    return sign * (a - b) || first.at - second.at;
  });
}

function drawList() {
  const place = byId("list");
  place.hidden = state.view !== "list";
  byId("sort-by").hidden = byId("direction").hidden = place.hidden;
  byId("direction").textContent = state.sort === "order" ? (state.up ? "from the last" : "from the first") : state.up ? "lowest first" : "highest first";
  if (place.hidden) return;
  const varied = [0, 1, 2].filter((axis) => AXES[axis].values.length > 1);
  const head = make("tr", {}, heading("order", "#"), make("th", { scope: "col" }, "picture"));
  for (const axis of varied) head.append(make("th", { scope: "col" }, AXES[axis].label));
  for (const name of NAMES) head.append(heading(name, KNOWN.get(name).title));
  const rows = sorted().map((cell, at) => listRow(cell, at, varied));
  const table = make("table", { class: "ranking" }, make("thead", {}, head), make("tbody", {}, ...rows));
  place.replaceChildren(make("div", { class: "scroll", tabindex: "-1" }, table));
}

function heading(name, title) {
  const active = state.sort === name;
  const unit = name === "order" ? "" : KNOWN.get(name).unit;
  const button = make("button", { type: "button", "data-sort": name, title: name === "order" ? "in the grid's order" : `higher: ${KNOWN.get(name).more}`, on: { click: () => sortBy(name) } },
    title, unit ? make("small", {}, ` ${unit}`) : null, active ? (state.up ? " ▲" : " ▼") : null);
  return make("th", { scope: "col", "aria-sort": active ? (state.up ? "ascending" : "descending") : "none" }, button);
}

function sortBy(name) {
  if (state.sort === name) state.up = !state.up;
  else [state.sort, state.up] = [name, false];
  byId("sort").value = name;
  changed();
  byId("list").querySelector(`[data-sort="${name}"]`)?.focus();
}

/** Below the picture where the table is wider than the screen: what it is sorted by. */
function caption(cell) {
  return state.sort === "order" ? null : make("span", { class: "caption", "aria-hidden": "true" }, written(number(cell, state.sort), state.sort, true));
}

function listRow(cell, at, varied) {
  const row = make("tr", { "data-at": String(cell.at) }, make("td", { class: "rank" }, String(at + 1)), make("td", {}, make("div", { class: "cell" }, pickButton(cell, true), caption(cell))));
  varied.forEach((axis, order) => {
    const text = bare(axis, cell.index[axis]);
    row.append(order ? make("td", {}, text) : make("th", { scope: "row" }, make("button", { type: "button", class: "link", on: { click: () => showDetails(cell) } }, text || "settings")));
  });
  for (const name of NAMES) {
    const value = number(cell, name);
    const place = make("td", { class: "number" }, written(value, name));
    if (name === state.colour || name === state.sort) heat(place, value, name);
    row.append(place);
  }
  return row;
}

listeners.push(drawList);
