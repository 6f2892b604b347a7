element.addEventListener("click", (event) => {
  const tile = event.target.closest("[data-name]");
  if (!tile) return;
  const mark = Boolean(event.target.closest(".mark")) || event.ctrlKey || event.metaKey;
  if (mark) {
    const on = tile.classList.toggle("marked");
    tile.querySelector(".mark")?.setAttribute("aria-pressed", String(on));
  } else {
    for (const other of element.querySelectorAll(".shown")) other.classList.remove("shown");
    tile.classList.add("shown");
  }
  trigger("select", { name: tile.dataset.name, deletion: tile.dataset.deletion || "", mark });
});
