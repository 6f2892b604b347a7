// The table of cells: X across, Y down, a tab for each Z.

let focused = [0, 0];

function drawTabs() {
  const tabs = byId("tabs");
  const count = AXES[2].values.length;
  tabs.hidden = count < 2 || state.view !== "table";
  tabs.replaceChildren();
  for (const place of count > 1 ? [...AXES[2].values.keys(), EVERY] : []) {
    const chosen = place === state.z;
    tabs.append(
      make("button", {
        type: "button", role: "tab", "aria-selected": String(chosen), "aria-controls": "table", tabindex: chosen ? "0" : "-1",
        on: { click: () => selectTab(place), keydown: tabKeys },
      }, place === EVERY ? "All" : named(2, place)),
    );
  }
}

function selectTab(place) {
  state.z = place;
  changed();
  byId("tabs").querySelector('[aria-selected="true"]').focus();
}

function tabKeys(event) {
  const places = [...AXES[2].values.keys(), EVERY];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) selectTab(places[(places.indexOf(state.z) + step + places.length) % places.length]);
}

function drawTable() {
  const place = byId("table");
  place.hidden = state.view !== "table";
  if (place.hidden) return;
  const kept = place.contains(document.activeElement);
  const scrolled = [...place.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
  const depths = state.z === EVERY ? [...AXES[2].values.keys()] : [state.z];
  place.replaceChildren(...depths.map(tableAt));
  [...place.querySelectorAll(".scroll")].forEach((each, at) => scrolled[at] && each.scrollTo(...scrolled[at]));
  if (kept) focusCell(...focused, depths[0]);
}

function tableAt(z) {
  const [columns, rows] = AXES;
  const head = make("tr", {}, corner());
  for (const x of columns.values.keys()) head.append(make("th", { scope: "col" }, bare(0, x)));
  const body = make("tbody", { on: { keydown: (event) => tableKeys(event, z) } });
  for (const y of rows.values.keys()) {
    const row = make("tr", {}, make("th", { scope: "row" }, bare(1, y)));
    for (const x of columns.values.keys()) row.append(tableCell(cellAt(x, y, z), x, y, z));
    body.append(row);
  }
  const table = make("table", { class: "grid" }, make("thead", {}, head), body);
  const title = state.z === EVERY ? make("h2", {}, named(2, z)) : null;
  return make("div", { class: "layer" }, title, make("div", { class: "scroll", tabindex: "-1" }, table));
}

function corner() {
  const across = AXES[0].label ? make("span", { class: "across" }, `${AXES[0].label} →`) : null;
  const down = AXES[1].label ? make("span", { class: "down" }, `${AXES[1].label} ↓`) : null;
  return make("td", { class: "corner" }, across, down);
}

function tableCell(cell, x, y, z) {
  if (!cell) return make("td", { class: "absent" }, "–");
  const value = state.colour ? number(cell, state.colour) : null;
  const strip = make("div", { class: "strip" },
    make("span", { class: "value" }, state.colour ? written(value, state.colour, true) : ""),
    make("button", { type: "button", class: "info", tabindex: "-1", "aria-label": `Settings of ${titleOf(cell)}`, on: { click: () => showDetails(cell) } }, "i"));
  if (state.colour) heat(strip, value, state.colour);
  const here = focused[0] === x && focused[1] === y;
  const box = make("div", { class: "cell", "data-x": String(x), "data-y": String(y), "data-z": String(z) }, pickButton(cell, here), strip);
  if (state.marks) {
    for (const [name, other, where] of [["right", cellAt(x + 1, y, z), "to the right"], ["below", cellAt(x, y + 1, z), "below"]]) {
      const mark = other && markOf(cell, other, `The cell ${where}`);
      if (mark) box.append(make("span", { class: `same ${name}`, title: mark.title }, mark.sign));
    }
  }
  return make("td", {}, box);
}

/** The sign for two cells that cannot be told apart; null for others. */
function markOf(cell, other, who) {
  if (!picturesOf(cell).length || !picturesOf(other).length) return null;
  const { kind } = verdict(cell, other);
  if (kind === "same") return { sign: "=", title: `${who} is the same picture, pixel for pixel.` };
  return kind === "none" ? { sign: "≈", title: `${who} has no visible difference from this.` } : null;
}

/** The picture of a cell as the button that chooses it, with its badges. */
function pickButton(cell, reachable) {
  const badge = cell === state.a ? "A" : cell === state.b ? "B" : "";
  const mark = state.marks && state.a && cell !== state.a ? markOf(cell, state.a, "A") : null;
  const said = [titleOf(cell), badge && `chosen as ${badge}`, mark && mark.title, cell.state !== "done" && cell.state];
  if (state.colour) said.splice(1, 0, `${KNOWN.get(state.colour).title} ${written(number(cell, state.colour), state.colour, true)}`);
  const button = make("button", {
    type: "button", class: `pick ${badge && `chosen ${badge.toLowerCase()}`}`, "aria-pressed": String(Boolean(badge)),
    "aria-label": said.filter(Boolean).join("; "), tabindex: reachable ? "0" : "-1", title: cell.error || titleOf(cell),
    on: { click: () => choose(cell) },
  }, imageOf(cell, "thumb") || placeholder(cell));
  if (badge) button.append(make("span", { class: "badge" }, badge));
  else if (mark) button.append(make("span", { class: "badge alike" }, `${mark.sign} A`));
  const count = (cell.pictures || []).length;
  if (count > 1) button.append(make("span", { class: "count" }, `${count} pictures`));
  return button;
}

function tableKeys(event, z) {
  const box = event.target.closest(".cell");
  if (!box) return;
  const [x, y] = [Number(box.dataset.x), Number(box.dataset.y)];
  const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
  if (step) {
    event.preventDefault();
    focusCell(x + step[0], y + step[1], z);
  } else if (event.key === "i") showDetails(cellAt(x, y, z));
}

function focusCell(x, y, z) {
  const button = byId("table").querySelector(`[data-x="${x}"][data-y="${y}"][data-z="${z}"] .pick`);
  if (!button) return;
  for (const each of byId("table").querySelectorAll(".pick")) each.tabIndex = -1;
  button.tabIndex = 0;
  focused = [x, y];
  button.focus();
}

listeners.push(drawTabs, drawTable);
