// One cell's settings, infotext and measures; what all cells share; the noise floor.

function showDetails(cell) {
  state.shown = cell;
  drawDetails();
  byId("details").querySelector("button")?.focus();
}

function drawDetails() {
  const place = byId("details");
  const cell = state.shown;
  place.hidden = !cell;
  document.body.classList.toggle("with-details", Boolean(cell));
  if (!cell) return;
  const close = make("button", { type: "button", class: "quiet", "aria-label": "Close", on: { click: () => closeDetails() } }, "✕");
  const image = imageOf(cell, "large") || placeholder(cell);
  place.replaceChildren(
    make("div", { class: "aside-head" }, make("h2", {}, titleOf(cell)), close),
    image,
    ...[cell.error ? make("p", { class: "error" }, cell.error) : null, actions(cell), measuresOf(cell)].filter(Boolean),
    ...block("Infotext", cell.infotext ? infotextOf(cell) : null),
    ...block("Settings", settingsOf(cell.settings)),
  );
}

function closeDetails() {
  const cell = state.shown;
  state.shown = null;
  drawDetails();
  if (cell && state.view === "table") focusCell(cell.index[0], cell.index[1], cell.index[2]);
}

function block(title, content) {
  return content ? [make("h3", {}, title), content] : [];
}

function actions(cell) {
  const pictures = picturesOf(cell);
  if (!pictures.length) return null;
  const row = make("div", { class: "actions" });
  const first = pictures.findIndex((each) => each.title === "first pass");
  if (state.a && state.a !== cell) {
    row.append(make("button", { type: "button", on: { click: () => choose(cell) } }, "Compare with A"));
  } else if (!state.a) row.append(make("button", { type: "button", on: { click: () => choose(cell) } }, "Choose as A"));
  if (first > 0) {
    row.append(make("button", { type: "button", on: { click: () => openCompare({ a: cell, b: cell, pictureA: first, pictureB: 0 }) } }, "Compare with its first pass"));
  }
  for (const { source, title, path } of pictures) {
    row.append(make("a", { href: source, download: path.split("/").pop(), class: "button" }, `Save ${title}`));
  }
  return row;
}

function measuresOf(cell) {
  const names = NAMES.filter((name) => number(cell, name) !== null);
  if (!names.length) return null;
  const rows = names.map((name) => {
    const floor = (GRID.noise_floor || {})[name];
    const value = make("td", { class: "number" }, written(number(cell, name), name, true));
    return make("tr", { title: `higher: ${KNOWN.get(name).more}` }, make("th", { scope: "row" }, KNOWN.get(name).title), value,
      make("td", { class: "number faint" }, floor ? `± ${rough(floor.deviation)}` : ""));
  });
  return make("table", { class: "facts" }, make("tbody", {}, ...rows));
}

function infotextOf(cell) {
  const button = make("button", { type: "button", class: "copy", on: { click: () => copy(cell.infotext, button) } }, "Copy");
  return make("div", { class: "infotext" }, button, make("pre", { tabindex: "0" }, cell.infotext));
}

function settingsOf(settings) {
  const rows = flat(settings || {}).map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
  return rows.length ? make("table", { class: "facts settings" }, make("tbody", {}, ...rows)) : null;
}

/** Nested settings as [name, text]; empty ones left out. */
function flat(settings, prefix = "") {
  return Object.entries(settings).flatMap(([name, value]) => {
    const title = prefix + name.replaceAll("_", " ");
    if (value === null || value === "" || (Array.isArray(value) && !value.length)) return [];
    if (typeof value === "object" && !Array.isArray(value)) return flat(value, `${title}: `);
    return [[title, typeof value === "string" ? value : JSON.stringify(value)]];
  });
}

function drawFloor() {
  const place = byId("floor");
  const names = DATA.measures.map(({ name }) => name).filter((name) => name in (GRID.noise_floor || {}));
  place.hidden = !names.length;
  if (place.hidden || place.childElementCount) return;
  const head = ["measure", "mean", "deviation", "repeats", "two differ by"].map((title) => make("th", { scope: "col" }, title));
  const rows = names.map((name) => {
    const { mean, deviation, count } = GRID.noise_floor[name];
    const numbers = [written(mean, name), rough(deviation), String(count), rough(DATA.thresholds[name])];
    return make("tr", {}, make("th", { scope: "row" }, KNOWN.get(name).title), ...numbers.map((text) => make("td", { class: "number" }, text)));
  });
  place.append(make("h2", {}, "What another seed changes"),
    make("p", { class: "hint" }, `One cell drawn again with other seeds. Two cells have “no visible difference” (≈) when at most ${percent(DATA.alike)} of their area differs visibly and no measure differs by more than the last column says; = marks pictures that are the same.`),
    make("div", { class: "scroll", tabindex: "-1" }, make("table", { class: "facts noise" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))),
    make("div", { class: "repeats" }, ...(GRID.repeats || []).map((cell, at) => imageOf({ ...cell, at: -1 - at, index: [0, 0, 0] }, "repeat")).filter(Boolean)));
}

function drawBase() {
  const place = byId("base").querySelector("div");
  const { request, ...rest } = GRID.base || {};
  const table = settingsOf({ ...rest, ...request, ...(GRID.options ? { options: GRID.options } : {}) });
  byId("base").hidden = !table;
  if (table) place.replaceChildren(table);
}

listeners.push(drawDetails, drawFloor);
