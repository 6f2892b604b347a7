// The line of facts, the tools above the grid, light and dark.

const THEMES = [["", "Auto"], ["light", "Light"], ["dark", "Dark"]];

function facts() {
  const count = (wanted) => CELLS.filter((cell) => cell.state === wanted).length;
  const total = (name) => CELLS.reduce((sum, cell) => sum + (number(cell, name) || 0), 0);
  const parts = [`${CELLS.length} cells`];
  if (count("waiting")) parts.push(`${count("waiting")} not drawn yet`);
  if (count("failed")) parts.push(`${count("failed")} failed`);
  if (total("seconds")) parts.push(duration(total("seconds")));
  if (total("calls")) parts.push(`${total("calls")} denoiser calls`);
  if (total("reused")) parts.push(`${total("reused")} steps reused`);
  if (GRID.created) parts.push(String(GRID.created).replace("T", " ").slice(0, 16));
  if (GRID.version) parts.push(`hires ${GRID.version}`);
  const shown = parts.map((part) => part.replaceAll(" ", "\u00a0"));
  byId("facts").append([...shown, ...(DATA.note ? [DATA.note] : [])].join(" · "));
  for (const name of [...(GRID.parts || []), ...(GRID.sub_grids || [])]) {
    if (DATA.files[name]) byId("facts").append(" · ", make("a", { href: DATA.files[name] }, name));
  }
}

function duration(seconds) {
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function fillTools() {
  const options = (names) => names.map(([value, title]) => make("option", { value }, title));
  const measures = NAMES.map((name) => [name, KNOWN.get(name).title]);
  byId("colour").append(...options([["", "nothing"], ...measures]));
  byId("sort").append(...options([["order", "the grid’s order"], ...measures]));
  state.colour = NAMES.find((name) => DATA.measures.some((each) => each.name === name)) || "";
  byId("colour").value = state.colour;
  byId("colour").addEventListener("change", (event) => { state.colour = event.target.value; changed(); });
  byId("sort").addEventListener("change", (event) => { [state.sort, state.up] = [event.target.value, false]; changed(); });
  byId("direction").addEventListener("click", () => { state.up = !state.up; changed(); });
  byId("as-table").addEventListener("click", () => { state.view = "table"; changed(); });
  byId("as-list").addEventListener("click", () => { state.view = "list"; if (state.sort === "order" && state.colour) { state.sort = state.colour; byId("sort").value = state.colour; } changed(); });
  byId("marks").addEventListener("change", (event) => { state.marks = event.target.checked; changed(); });
  const size = byId("size");
  size.value = String(fittingSize());
  const resize = () => document.documentElement.style.setProperty("--cell", `${size.value}px`);
  size.addEventListener("input", resize);
  resize();
}

/** The largest cells with which the whole table is seen, within what one can recognise. */
function fittingSize() {
  if (innerWidth < 700) return 124;
  const across = (innerWidth - 200) / AXES[0].values.length - 8;
  const down = (innerHeight - 130) / AXES[1].values.length - 40;
  return Math.max(132, Math.min(300, Math.floor(across), Math.floor(down)));
}

function drawTools() {
  byId("as-table").setAttribute("aria-pressed", String(state.view === "table"));
  byId("as-list").setAttribute("aria-pressed", String(state.view === "list"));
  byId("marks-label").hidden = !CELLS.some((cell) => picturesOf(cell).length);
  const legend = byId("legend");
  legend.hidden = !state.colour;
  if (!state.colour) return;
  const [low, high] = RANGES.get(state.colour);
  const [first, , last] = legend.children;
  [first.textContent, last.textContent] = [written(low, state.colour), written(high, state.colour, true)];
  legend.title = `higher: ${KNOWN.get(state.colour).more}`;
}

function setTheme(at) {
  const [theme, title] = THEMES[at];
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  const button = byId("theme");
  button.textContent = `◐ ${title}`;
  button.setAttribute("aria-label", `Colours: ${title}`);
  button.onclick = () => setTheme((at + 1) % THEMES.length);
}

function plotLegend() {
  byId("plot-legend").append(...DATA.series.map((name, at) => make("li", {}, make("i", { class: `s${at % 8}`, "aria-hidden": "true" }), name)));
}

setTheme(0);
facts();
fillTools();
plotLegend();
drawBase();
listenToCompare();
listeners.push(drawTools);
changed();
if (location.hash === "#compare" && CELLS.length === 2) openCompare({ a: CELLS[0], b: CELLS[1], mode: "slider" });
